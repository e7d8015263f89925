"""What a detector finds on each image of a split, in detections-SPLIT.parquet beside its evaluation, without torch.

A row for each box that was found: image_id, label (name of the class), score (0..1), left, top, right, bottom (pixels
of the dataset's image).
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from student.core.files import VERSION, RunInvalid, read_bytes, write_bytes

DETECTIONS = "detections-{split}.parquet"
LARGEST = 1 << 32  # bytes
SIDES = ("left", "top", "right", "bottom")
OVERLAP = 0.5  # intersection over union from which on a box counts as found
COLUMNS = ("image_id", "label", "score", *SIDES)


def write_detections(run_dir: Path, split: str, detections: pl.DataFrame) -> None:
    buffer = io.BytesIO()
    detections.select(COLUMNS).write_parquet(buffer, metadata={"version": str(VERSION)})
    write_bytes(run_dir / DETECTIONS.format(split=split), buffer.getvalue())


def read_detections(run_dir: Path, split: str) -> pl.DataFrame | None:
    """None where there are none that can be read: the detector can be evaluated again. Raises StorageUnavailable."""
    try:
        found = pl.read_parquet(io.BytesIO(read_bytes(run_dir / DETECTIONS.format(split=split), limit=LARGEST)))
        return found.select(COLUMNS)
    except (FileNotFoundError, RunInvalid, pl.exceptions.PolarsError):
        return None


def detection_splits(run_dir: Path) -> list[str]:
    before, after = DETECTIONS.split("{split}")
    return sorted(path.name[len(before) : -len(after)] for path in run_dir.glob(DETECTIONS.format(split="*")))


def overlaps(boxes_N4: NDArray[np.float64], others_M4: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of every two boxes (left, top, right, bottom), [N, M]."""
    first, second = boxes_N4[:, None], others_M4[None]
    inside = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    shared = inside.clip(0).prod(axis=-1)
    areas = (first[..., 2:] - first[..., :2]).prod(axis=-1) + (second[..., 2:] - second[..., :2]).prod(axis=-1)
    return np.divide(shared, areas - shared, out=np.zeros_like(shared), where=areas > shared)


def match_boxes(
    boxes_N4: NDArray[np.float64], labels: list[str], detections: pl.DataFrame
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The detection that finds each box [N], and the box that each detection finds [M]; -1 for none.

    As COCO does it: the most probable detection first, each finds the free box of its class that it overlaps most, by
    OVERLAP at least.
    """
    corners = detections.select(SIDES).to_numpy().astype(np.float64)
    shares = overlaps(boxes_N4.reshape(-1, 4), corners)
    found_by, finds = np.full(len(labels), -1, np.int64), np.full(len(detections), -1, np.int64)
    scores, names = detections["score"].to_numpy(), detections["label"].to_list()
    for place in np.argsort(-scores, kind="stable").tolist():
        free = [box for box in range(len(labels)) if found_by[box] < 0 and labels[box] == names[place]]
        best = max(free, key=lambda box: shares[box, place], default=None)
        if best is not None and shares[best, place] >= OVERLAP:
            found_by[best], finds[place] = place, best
    return found_by, finds
