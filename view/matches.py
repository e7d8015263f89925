"""Which boxes a detector has found: matched once for each split and least score, and kept."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from storage.datasets.base import ImageRecord
from storage.datasets.detection import DetectionDataset
from student.core.stored_detections import DETECTIONS, match_boxes, read_detections
from student.core.stored_runs import StoredRun

KEPT = 4


class DetectionMatches:
    """The boxes of each image of a split, as `match_images` returns them, of the last few choices."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: OrderedDict[object, tuple[bool, list[dict[str, Any]]]] = OrderedDict()

    def get(
        self, dataset: DetectionDataset, run: StoredRun | None, split: str, least: float
    ) -> tuple[bool, list[dict[str, Any]]]:
        """Whether the run was evaluated on the split, and its images; detections below the score `least` are left
        out."""
        key = (None if run is None else run.folder, split, least, _stamp(run, split))
        with self._lock:
            if key not in self._found:
                detections = None if run is None else read_detections(run.folder, split)
                if detections is not None:
                    detections = detections.filter(pl.col("score") >= least)
                records = [record for record in dataset.records if record.split == split]
                self._found[key] = detections is not None, match_images(dataset, records, detections)
            self._found.move_to_end(key)
            while len(self._found) > KEPT:
                self._found.popitem(last=False)
            return self._found[key]


def _stamp(run: StoredRun | None, split: str) -> object:
    path = None if run is None else run.folder / DETECTIONS.format(split=split)
    return None if path is None or not path.is_file() else (path.stat().st_mtime_ns, path.stat().st_size)


def match_images(
    dataset: DetectionDataset, records: Sequence[ImageRecord], detections: pl.DataFrame | None
) -> list[dict[str, Any]]:
    """For each image its boxes with the detection that finds each, and the detections that find none."""
    by_image = {} if detections is None else {name: part for (name,), part in detections.group_by("image_id")}
    images = []
    for record in records:
        boxes = [box for box in dataset.boxes[record.image_id] if not box.ignored]
        part = by_image.get(record.image_id)
        found_by, mistakes = [None] * len(boxes), []
        if part is not None:
            corners = np.array([box.corners for box in boxes], np.float64).reshape(-1, 4)
            matches, finds = match_boxes(corners, [dataset.class_names[box.label] for box in boxes], part)
            rows = part.to_dicts()
            found_by = [rows[place] if place >= 0 else None for place in matches.tolist()]
            mistakes = [row for row, box in zip(rows, finds.tolist(), strict=True) if box < 0]
        images.append({"image_id": record.image_id, "boxes": boxes, "found_by": found_by, "mistakes": mistakes})
    return images
