"""Datasets in Parquet or Arrow files with image bytes, read without Hugging Face's library."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pyarrow as pa

from storage.datasets.base import DatasetInvalid, ListedImages, Stamp
from storage.datasets.files import files_with, listing, missing_classes
from storage.datasets.image_tables.files import SUFFIXES, ImageFile, image_columns, listed_classes
from storage.datasets.labelled import Labelled, labelled_records, split_of_file
from storage.datasets.specification import Specification
from storage.datasets.table.columns import LABEL_NAMES
from storage.text import printable

OPTIONS = ("image", "label", "test")
OPEN_FILES = 64  # of a process


class Cell(NamedTuple):
    """Where an image is."""

    path: str
    column: str
    row: int


class ImageTableDataset(ListedImages[Cell]):
    """A dataset with images in cells of Parquet or Arrow files."""

    def read(self, image_id: str) -> bytes:
        cell = self.places[image_id]
        found = _opened(cell.path, os.stat(cell.path).st_mtime_ns).image(cell.column, cell.row)
        if found is None:
            raise FileNotFoundError(f"row {cell.row} of {cell.path} holds no image")
        return found

    def stamp(self, image_id: str) -> Stamp:
        """Return size and modification time of the file that holds the image, and its row."""
        cell = self.places[image_id]
        found = os.stat(cell.path)
        return Stamp(found.st_size, found.st_mtime_ns, f"row {cell.row} of {cell.column}")


@lru_cache(OPEN_FILES)
def _opened(path: str, mtime_ns: int) -> ImageFile:
    try:
        return ImageFile(Path(path))
    except DatasetInvalid as error:
        raise OSError(str(error)) from error


def holds_images(place: Path) -> bool:
    """Return whether a file, or the first one in a folder, has a column of images."""
    files = files_with(place, SUFFIXES)
    if not files:
        return False
    try:
        return bool(image_columns(ImageFile(files[0]).schema))
    except DatasetInvalid:  # reported by whatever reads the file
        return False


def image_table_dataset(place: Path, asked: Specification, *, name: str | None = None) -> ImageTableDataset:
    """Read a Parquet or Arrow file with images, or those of a folder and of the folders within it.

    The image column is the only struct with `bytes` (or the only binary column), the label the only ClassLabel or one
    with a usual name, unless the options `image` and `label` name them. Splits are named by files: train-00000.parquet,
    test/0.parquet. Ids are those of `hf:`: the split and the path stored with the image if all are different, else the
    row's number in the split. Raises DatasetInvalid.
    """
    asked.allow(OPTIONS)
    files = files_with(place, SUFFIXES)
    if not files:
        raise DatasetInvalid(f"no Parquet or Arrow files at {place}; check the path")
    root = place.parent if place.is_file() else place
    rows: list[Labelled] = []
    cells: list[tuple[Cell, str | None]] = []
    listed: Sequence[str] = ()
    for path in files:
        file, split = ImageFile(path), split_of_file(path.relative_to(root).as_posix())
        column = asked.text("image") or _only(image_columns(file.schema), "image", path)
        label = asked.text("label") or _label_column(file.schema, path)
        _require_columns(file, path, column, label)
        names = listed_classes(file.schema, label) or ()
        if listed and names != listed:
            raise DatasetInvalid(f"{path} lists other classes than {files[0]}; make them the same")
        listed = names
        rows += [("", split, text) for text in _labels(file, path, label, names)]
        cells += [(Cell(str(path), column, row), stored) for row, stored in enumerate(_stored_paths(file, column))]
    image_ids = _image_ids([split for _, split, _ in rows], [stored for _, stored in cells])
    named = [(image_id, split, label) for image_id, (_, split, label) in zip(image_ids, rows, strict=True)]
    class_names, records = labelled_records(named, place, listed)
    return ImageTableDataset(
        name=name or (place.stem if place.is_file() else place.resolve().name),
        class_names=class_names,
        records=records,
        places={image_id: cell for image_id, (cell, _) in zip(image_ids, cells, strict=True)},
        notes=missing_classes(records, class_names),
    )


def _only(columns: Sequence[str], what: str, path: Path) -> str:
    if len(columns) != 1:
        found = f"several {what} columns ({listing(columns)})" if columns else f"no {what} column"
        raise DatasetInvalid(f"{path} has {found}; name it: ?{what}=COLUMN")
    return columns[0]


def _label_column(schema: pa.Schema, path: Path) -> str:
    typed = [name for name in schema.names if listed_classes(schema, name) is not None]
    return _only(typed or [name for name in schema.names if name.casefold() in LABEL_NAMES], "label", path)


def _require_columns(file: ImageFile, path: Path, image: str, label: str) -> None:
    for column in (image, label):
        if column not in file.schema.names:
            raise DatasetInvalid(f"{path} has no column '{printable(column)}'; it has {listing(file.schema.names)}")
    if image not in image_columns(file.schema):
        raise DatasetInvalid(f"column '{printable(image)}' of {path} holds {file.schema.field(image).type}, not images")
    kind = file.schema.field(label).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise DatasetInvalid(
            f"column '{printable(label)}' of {path} holds {kind}, not classes; name another: ?label=COLUMN"
        )


def _labels(file: ImageFile, path: Path, column: str, names: Sequence[str]) -> list[str]:
    """Return the class name of each row, empty for an unknown one. Raises DatasetInvalid, naming the row."""
    found = []
    for row, value in enumerate(file.column(column).to_pylist()):
        if value is None or value == -1:
            found.append("")
        elif not names:
            found.append(str(value).strip())
        elif type(value) is int and 0 <= value < len(names):
            found.append(names[value])
        else:
            raise DatasetInvalid(f"{path}, row {row}: label {value} is none of the {len(names)} classes; correct it")
    return found


def _stored_paths(file: ImageFile, column: str) -> list[str | None]:
    kind = file.schema.field(column).type
    if not pa.types.is_struct(kind) or kind.get_field_index("path") < 0:
        return [None] * len(file)
    return list(file.column(f"{column}.path").to_pylist())


def _image_ids(splits: Sequence[str], stored: Sequence[str | None]) -> list[str]:
    """Return ids as `hf:` has them, so that answers are the same whichever reads the files."""
    paths = [
        f"{split}/{PurePosixPath(path).as_posix()}" if path and not path.startswith("/") else None
        for split, path in zip(splits, stored, strict=True)
    ]
    if None not in paths and len(set(paths)) == len(paths):
        return [path for path in paths if path is not None]
    numbers = dict.fromkeys(splits, -1)
    image_ids = []
    for split in splits:
        numbers[split] += 1
        image_ids.append(f"{split}/{numbers[split]:07d}")
    return image_ids
