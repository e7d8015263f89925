"""Hold out a test split of a dataset that has none."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any, TypeVar

from storage.datasets.base import DatasetInvalid, ImageDataset
from storage.datasets.files import split_rank

TRAIN, TEST = "train", "test"
Images = TypeVar("Images", bound=ImageDataset)


def with_held_out(dataset: Images, share: float | None) -> Images:
    """Return the dataset with a share of its training images in split `test`; unchanged for None.

    Raises DatasetInvalid if it has test images already, and if all or none of the images would be held out.
    """
    if share is None:
        return dataset
    if any(record.split == TEST for record in dataset.records):
        raise DatasetInvalid(f"dataset '{dataset.name}' has a split '{TEST}', so test= holds nothing out; remove it")
    records = [
        replace(record, split=held_out_split(record.image_id, share)) if record.split == TRAIN else record
        for record in dataset.records
    ]
    for split in (TRAIN, TEST):
        if not any(record.split == split for record in records):
            raise DatasetInvalid(
                f"test={share:g} of dataset '{dataset.name}' leaves split '{split}' empty; change the share"
            )
    changed: Any = dataset  # all datasets are dataclasses, which the protocol cannot say
    return replace(changed, records=sorted(records, key=lambda record: split_rank(record.split)))


def held_out_split(key: str, share: float) -> str:
    """Return `test` for a share of all keys, by their SHA-256, else `train`.

    It is the same on every machine, and no image changes its split when others are added or removed.
    """
    number = int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:8], "big")
    return TEST if number < share * 2**64 else TRAIN
