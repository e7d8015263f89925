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

from storage.answers.read import Answers
from storage.datasets.base import UNKNOWN, UNLABELLED, ImageDataset, ImageRecord
from student.core.files import VERSION, RunInvalid, read_bytes, require_version, write_bytes

OUT_OF_FOLD = "out-of-fold.parquet"
LARGEST = 1 << 34  # bytes
METADATA = "aspects"
DEEPEST = 5  # folders between those of runs and a file
CHUNK = 8192  # images


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


def expected_answers(students: OutOfFold, answers: Answers) -> NDArray[np.float32]:
    """p(yes) [I, Q] that follows from what the students say about the class: the classes' mean answers, weighted by the
    probabilities of the classes. NaN for images that the students have not judged."""
    p_yes_IQ, places_I = answers.p_yes, students.places_of(answers.image_ids)
    means_CQ = _class_means(p_yes_IQ, answers.label_names, students.class_names)
    answered_C = ~np.isnan(means_CQ).any(axis=1)
    found_IQ = np.full_like(p_yes_IQ, np.nan)
    if not answered_C.any():
        return found_IQ
    rows = np.flatnonzero(places_I >= 0)
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        p_MC = np.exp(students.log_p_NC[places_I[part]][:, answered_C])
        found_IQ[part] = (p_MC / p_MC.sum(axis=1, keepdims=True)) @ means_CQ[answered_C]
    return found_IQ


def _class_means(
    p_yes_IQ: NDArray[np.float32], label_names: Sequence[str], class_names: Sequence[str]
) -> NDArray[np.float32]:
    """Mean p(yes) [C, Q] of the images of each class, NaN without any."""
    number = {name: place for place, name in enumerate(class_names)}
    labels_I = np.array([number.get(name, -1) for name in label_names], dtype=np.int64)
    means_CQ = np.full((len(class_names), p_yes_IQ.shape[1]), np.nan, dtype=np.float32)
    for column, p_yes in enumerate(p_yes_IQ.T):
        known = (labels_I >= 0) & ~np.isnan(p_yes)
        counts, sums = (np.bincount(labels_I[known], weights, len(class_names)) for weights in (None, p_yes[known]))
        means_CQ[counts > 0, column] = (sums / np.maximum(counts, 1))[counts > 0]
    return means_CQ


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
