"""The interface of datasets: an ordered list of labelled images whose bytes are read by id."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, NamedTuple, Protocol, Self, TypeVar, runtime_checkable

from storage.datasets.places import FilesBelow
from storage.datasets.records import BOX_MARK as BOX_MARK
from storage.datasets.records import UNKNOWN as UNKNOWN
from storage.datasets.records import Corners as Corners
from storage.datasets.records import ImageRecord as ImageRecord
from storage.datasets.records import ImageRecords, splits_of
from storage.errors import InputInvalid
from storage.images.decode import read_image_file

# The split of intentionally unlabelled images.
UNLABELLED = "unlabelled"
TRAINING_SPLITS = ("train", UNLABELLED)  # what classifiers train on

Place = TypeVar("Place")


class DatasetInvalid(InputInvalid):
    """The dataset cannot be used as it is; the message says what, where and what to do."""


class ImageDataset(Protocol):
    """Images in a fixed order; `label` indexes `class_names`.

    `notes` are lines for the user about reading the dataset, e.g. skipped files. The `records` of millions of images
    are columns (`ImageRecords`).
    """

    @property
    def name(self) -> str: ...

    @property
    def class_names(self) -> Sequence[str]: ...

    @property
    def records(self) -> Sequence[ImageRecord]: ...

    @property
    def notes(self) -> tuple[str, ...]: ...

    def read(self, image_id: str) -> bytes:
        """Return the encoded file.

        Raises OSError if it cannot be read, ImageUnreadable for a box that cannot be shown, KeyError for an unknown id.
        """
        ...

    def subset(self, records: Sequence[ImageRecord]) -> ImageDataset:
        """Return the dataset of `records`, a subset of its own.

        Its pickle is about as large as the records: workers in other processes read their images from it.
        """
        ...


class Stamp(NamedTuple):
    """Size in bytes and modification time in ns, to detect changes of an image's file without reading it.

    `view` describes how a box is shown; empty for a whole image.
    """

    size: int
    mtime_ns: int
    view: str = ""


@runtime_checkable
class StampedDataset(Protocol):
    """An ImageDataset whose images are files."""

    def stamp(self, image_id: str) -> Stamp:
        """Return the stamp of an image's file. Raises OSError if there is no file, KeyError for an unknown id."""
        ...


@dataclass(frozen=True, kw_only=True)
class ListedImages(Generic[Place]):
    """The base of datasets that list where each image is; `places` maps every image_id to its place."""

    name: str
    class_names: Sequence[str]
    records: Sequence[ImageRecord]
    places: Mapping[str, Place] = field(repr=False)
    notes: tuple[str, ...] = ()

    def subset(self, records: Sequence[ImageRecord]) -> Self:
        return replace(self, records=records, places=self._places_of(records), notes=())

    def _places_of(self, records: Sequence[ImageRecord]) -> Mapping[str, Place]:
        return {record.image_id: self.places[record.image_id] for record in records}


class FileDataset(ListedImages[Path]):
    """A dataset whose images are files on this machine."""

    def read(self, image_id: str) -> bytes:
        return read_image_file(self.places[image_id])

    def stamp(self, image_id: str) -> Stamp:
        places = self.places
        found = os.stat(places.file(image_id) if isinstance(places, FilesBelow) else places[image_id])
        return Stamp(found.st_size, found.st_mtime_ns)

    def _places_of(self, records: Sequence[ImageRecord]) -> Mapping[str, Path]:
        if isinstance(self.places, FilesBelow):
            return FilesBelow(self.places.root, records)
        return super()._places_of(records)


def training_splits(dataset: ImageDataset) -> list[str]:
    """Return the splits that classifiers train on: `train`, and `unlabelled` if there is one."""
    known = splits_of(dataset.records)
    return [name for name in TRAINING_SPLITS if name in known] or ["train"]


def select(dataset: ImageDataset, splits: Collection[str]) -> Sequence[ImageRecord]:
    """Return the records of `splits` in the dataset's order. Raises DatasetInvalid for an unknown split."""
    records = dataset.records
    known = splits_of(records)
    for split in splits:
        if split not in known:
            raise DatasetInvalid(f"dataset '{dataset.name}' has no split '{split}'; it has {', '.join(known)}")
    if isinstance(records, ImageRecords):
        return records.of_splits(splits)
    return [record for record in records if record.split in splits]
