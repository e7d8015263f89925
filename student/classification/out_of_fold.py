"""What students say about images whose label they were not trained on, by k-fold cross-validation. Without torch.

Fold students (fold_students.py) are runs like any other, in `fold-K` below a folder named by the digest of the images
and labels. out-of-fold.parquet beside them has a row for each image: image_id, fold (null without a label) and log_p,
the log-probabilities of the classes (float32, nats).
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from storage.datasets.base import UNKNOWN, UNLABELLED, ImageDataset, ImageRecord
from student.core.files import VERSION, RunInvalid, read_bytes, require_version, write_bytes

OUT_OF_FOLD = "out-of-fold.parquet"
LARGEST = 1 << 34  # bytes
METADATA = "aspects"
DEEPEST = 5  # folders between those of runs and a file


@dataclass(frozen=True, kw_only=True)
class OutOfFold:
    """Log-probabilities [N, C] of N images in nats. Those of an image with a label are by the student of the fold that
    holds the image, whose label it has not seen; those of images without one are the mean over all students.

    `folds_N` is -1 without a label; `identity` is what was trained: dataset, settings, folds and digest of the images
    and labels.
    """

    image_ids: tuple[str, ...]
    class_names: tuple[str, ...]
    log_p_NC: NDArray[np.float32]
    folds_N: NDArray[np.int64]
    identity: str

    def places_of(self, image_ids: Sequence[str]) -> NDArray[np.int64]:
        """The rows [M] of images by their ids, -1 for those that are not known."""
        row_of = {image_id: row for row, image_id in enumerate(self.image_ids)}
        return np.array([row_of.get(image_id, -1) for image_id in image_ids], dtype=np.int64)


def audited_records(dataset: ImageDataset, splits: Sequence[str] | None = None) -> list[ImageRecord]:
    """The images of `splits`, by default all, in the dataset's order. Images of the split `unlabelled` have no label
    here."""
    chosen = [record for record in dataset.records if splits is None or record.split in (*splits, UNLABELLED)]
    return [without_label(record) if record.split == UNLABELLED else record for record in chosen]


def read_out_of_fold(folder: Path) -> OutOfFold | None:
    """What `train_out_of_fold` wrote in `folder`; None where there is nothing, or where it is damaged: the students are
    asked again. Raises VersionUnsupported, and StorageUnavailable where it cannot be read right now."""
    path = folder / OUT_OF_FOLD
    try:
        data = read_bytes(path, limit=LARGEST)
        metadata = pl.read_parquet_metadata(io.BytesIO(data))
        require_version(path, json.loads(metadata.get("version", "1")))
        about = json.loads(metadata[METADATA])
        table = pl.read_parquet(io.BytesIO(data))
        return OutOfFold(
            image_ids=tuple(table["image_id"]),
            class_names=tuple(about["class_names"]),
            log_p_NC=table["log_p"].to_numpy(),
            folds_N=table["fold"].fill_null(-1).to_numpy(),
            identity=about["identity"],
        )
    except (FileNotFoundError, RunInvalid, KeyError, ValueError, pl.exceptions.PolarsError):
        return None


def find_out_of_fold(runs: Sequence[Path], dataset: str) -> Path | None:
    """The newest file of `train_out_of_fold` about a dataset at or below the folders of `runs`."""
    depths = [f"{'*/' * depth}{OUT_OF_FOLD}" for depth in range(DEEPEST + 1)]
    files = {path for place in runs for pattern in depths for path in place.glob(pattern)}
    for path in sorted(files, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        try:
            about = json.loads(pl.read_parquet_metadata(path)[METADATA])
            if json.loads(about["identity"])["dataset"] == dataset:
                return path
        except (OSError, KeyError, ValueError, pl.exceptions.PolarsError):  # another file, or a damaged one
            continue
    return None


def write_out_of_fold(path: Path, found: OutOfFold) -> None:
    table = pl.DataFrame(
        {
            "image_id": list(found.image_ids),
            "fold": pl.Series([fold if fold >= 0 else None for fold in found.folds_N.tolist()], dtype=pl.Int64),
            "log_p": pl.Series(found.log_p_NC, dtype=pl.Array(pl.Float32, len(found.class_names))),
        }
    )
    buffer = io.BytesIO()
    about = json.dumps({"class_names": found.class_names, "identity": found.identity})
    table.write_parquet(buffer, metadata={"version": str(VERSION), METADATA: about})
    write_bytes(path, buffer.getvalue())


def without_label(record: ImageRecord) -> ImageRecord:
    return replace(record, split=UNLABELLED, label=UNKNOWN, label_name="")
