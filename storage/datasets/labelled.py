"""Build the records of a dataset from image ids, splits and labels as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from storage.datasets.base import UNKNOWN, UNLABELLED, DatasetInvalid, ImageRecord
from storage.datasets.files import is_usual_split, split_rank

TRAIN = "train"
Labelled = tuple[str, str, str]  # image id, split, label; an empty label is an unknown one


def labelled_records(
    rows: Iterable[Labelled], place: object, class_names: Sequence[str] = ()
) -> tuple[tuple[str, ...], list[ImageRecord]]:
    """Return class names and records: splits in the order train, val, test, others, and rows in their order in each.

    Without `class_names` the labels are sorted, as numbers if all are written like numbers. Images of unknown class are
    in split `unlabelled`. Raises DatasetInvalid if no image has a label.
    """
    rows = [(image_id, split, "" if split == UNLABELLED else label) for image_id, split, label in rows]
    used = {label for _, _, label in rows if label}
    if not used:
        raise DatasetInvalid(f"no image of {place} has a label; see docs/datasets.md for where labels are looked for")
    numeric = all(label.isdecimal() and str(int(label)) == label for label in used)
    names = tuple(class_names) or tuple(sorted(used, key=int if numeric else None))
    numbers = {name: number for number, name in enumerate(names)}
    records = [
        ImageRecord(
            image_id=image_id,
            split=split if label else UNLABELLED,
            label=numbers[label] if label else UNKNOWN,
            label_name=label,
        )
        for image_id, split, label in rows
    ]
    records.sort(key=lambda record: split_rank(record.split))
    return names, records


def split_of_file(path: str) -> str:
    """Return the split in a file's path: train/0.tar, train-00000-of-00010.parquet and train.tar are `train`.

    `train` too where none is named.
    """
    file = PurePosixPath(path)
    words = (*file.parts[:-1], file.name.partition(".")[0].replace("_", "-").partition("-")[0])
    return next((word.casefold() for word in words if is_usual_split(word)), TRAIN)
