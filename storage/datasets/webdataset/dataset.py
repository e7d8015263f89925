"""WebDataset's tar files: members whose names differ in their suffix alone are one sample."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from storage.datasets.base import DatasetInvalid, ListedImages, Stamp
from storage.datasets.files import counted, files_with, listing, missing_classes
from storage.datasets.labelled import Labelled, labelled_records, split_of_file
from storage.datasets.specification import Specification
from storage.datasets.table.columns import LABEL_NAMES
from storage.datasets.webdataset.index import LABEL_SUFFIXES, Member, read_index
from storage.documents import DocumentInvalid, read_text
from storage.images.decode import MAX_BYTES, ImageUnreadable
from storage.text import as_yaml, printable

TAR = (".tar",)
OPTIONS = ("label", "test")
CLASS_LISTS = ("classnames.txt", "classes.txt")


class Part(NamedTuple):
    """The bytes of an image: a part of a file."""

    path: str
    offset: int
    size: int


class ArchiveDataset(ListedImages[Part]):
    """A dataset whose images are parts of files."""

    def read(self, image_id: str) -> bytes:
        place = self.places[image_id]
        if place.size > MAX_BYTES:
            raise ImageUnreadable(f"file of {place.size >> 20} MB, more than {MAX_BYTES >> 20} MB allowed")
        with open(place.path, "rb") as file:
            return os.pread(file.fileno(), place.size, place.offset)

    def stamp(self, image_id: str) -> Stamp:
        """Return the image's size, and the modification time of the tar file."""
        place = self.places[image_id]
        return Stamp(place.size, os.stat(place.path).st_mtime_ns)


def webdataset(place: Path, asked: Specification, *, name: str | None = None) -> ArchiveDataset:
    """Read the samples in a tar file, or in those of a folder and of the folders within it.

    The split is that in the name of the folder or file: train-000000.tar, test/0.tar. A label is the text of `.cls`,
    else a field of `.json` (the option `label`, or one with a usual name), else the text of `.txt`. Numbers index the
    lines of `classnames.txt` or `classes.txt`, if there is one. An image's id is the path of its tar file and its name
    within. Raises DatasetInvalid, naming file and member.
    """
    asked.allow(OPTIONS)
    files = [place] if place.is_file() else files_with(place, TAR)
    if not files:
        raise DatasetInvalid(f"no tar files at {place}; check the path")
    root = place.parent if place.is_file() else place
    listed, rows, places = _class_names(root), list[Labelled](), dict[str, Part]()
    for file in files:
        shown = file.relative_to(root).as_posix()
        for image, label in _samples(file, asked.text("label"), listed):
            image_id = f"{shown}/{image.name.removeprefix('./')}"
            if image_id in places:
                raise DatasetInvalid(f"{file} has the member {printable(image.name, 200)} twice; keep one")
            places[image_id] = Part(str(file), image.offset, image.size)
            rows.append((image_id, split_of_file(shown), label))
    _refuse_captions(place, [label for _, _, label in rows])
    class_names, records = labelled_records(rows, place, listed)
    notes = list(missing_classes(records, class_names))
    if unknown := [record.image_id for record in records if not record.label_name]:
        notes.insert(0, f"{counted(len(unknown), 'image')} without a label: {listing(unknown)}")
    return ArchiveDataset(
        name=name or (place.stem if place.is_file() else place.resolve().name),
        class_names=class_names,
        records=records,
        places=places,
        notes=tuple(notes),
    )


def _class_names(root: Path) -> tuple[str, ...]:
    for file in CLASS_LISTS:
        try:
            names = [line.strip() for line in read_text(root / file).splitlines() if line.strip()]
        except FileNotFoundError:
            continue
        except (OSError, DocumentInvalid) as error:
            raise DatasetInvalid(f"cannot read the names of classes: {error}") from error
        if len(set(names)) < len(names):
            raise DatasetInvalid(f"{root / file} has a class twice; give each its own name")
        return tuple(names)
    return ()


def _samples(file: Path, label_field: str | None, listed: Sequence[str]) -> Iterator[tuple[Member, str]]:
    """Yield the image and the label of each sample."""
    images: dict[str, Member] = {}
    labels: dict[str, dict[str, str]] = {}
    for member in read_index(file):
        folder, _, base = member.name.rpartition("/")
        stem, _, suffix = base.partition(".")  # as WebDataset has it: everything after the first point
        key = f"{folder}/{stem}"
        if member.text is not None:
            labels.setdefault(key, {})[suffix.lower()] = member.text
        elif key not in images:
            images[key] = member
        else:
            raise DatasetInvalid(
                f"{file} has two images of the sample {printable(key.removeprefix('/'), 200)}: {images[key].name} and "
                f"{member.name}; keep one"
            )
    for key, image in images.items():
        yield image, _label(labels.get(key, {}), f"{file}, {image.name}", label_field, listed)


def _label(texts: Mapping[str, str], where: str, label_field: str | None, listed: Sequence[str]) -> str:
    cls, metadata, text = (texts.get(suffix) for suffix in LABEL_SUFFIXES)
    if cls is not None and label_field is None:
        label = cls.strip()
    elif metadata is not None:
        label = _from_json(metadata, where, label_field)
    else:
        label = "" if text is None or label_field is not None else text.strip()
    if listed and label and label not in listed:
        if not label.isdecimal() or int(label) >= len(listed):
            raise DatasetInvalid(
                f"{where}: label '{printable(label, 80)}' is none of the {len(listed)} classes; correct it"
            )
        return listed[int(label)]
    return label


def _from_json(text: str, where: str, label_field: str | None) -> str:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DatasetInvalid(
            f"{where}: its .json is no valid JSON ({printable(str(error), 100)}); correct it"
        ) from error
    fields = found if isinstance(found, dict) else {"label": found}
    names = [label_field] if label_field is not None else [name for name in LABEL_NAMES if name in fields]
    value = fields.get(names[0]) if names else None
    if value is None:
        return ""
    if type(value) not in (str, int):
        raise DatasetInvalid(f"{where}: '{names[0]}' in its .json is {printable(as_yaml(value), 80)}, not a class")
    return str(value).strip()


def _refuse_captions(place: Path, labels: Sequence[str]) -> None:
    given = [label for label in labels if label]
    if len(given) > 20 and len(set(given)) == len(given):
        raise DatasetInvalid(
            f"every image of {place} has a label of its own, e.g. '{printable(given[0], 80)}': these are no classes; "
            "name the field of .json that holds them: ?label=FIELD"
        )
