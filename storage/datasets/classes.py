"""Classes in place of images: their names and descriptions, from a dataset or from a file of names alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import polars as pl

from storage.datasets.base import DatasetInvalid, ImageRecord
from storage.documents import DocumentInvalid, read_text, read_yaml
from storage.tables import read_table
from storage.text import printable

CLASSES = "classes"  # the split of all classes
LONGEST_DESCRIPTION = 2000  # characters
YAML = (".yaml", ".yml")


@dataclass(frozen=True, kw_only=True)
class ClassDataset:
    """An ImageDataset of classes: one record each, whose bytes are a text about the class. `texts` are by class name,
    which is the record's id."""

    name: str
    class_names: Sequence[str]
    texts: Mapping[str, str] = field(repr=False)
    records: Sequence[ImageRecord]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, class_names: Sequence[str], texts: Mapping[str, str]) -> Self:
        records = [
            ImageRecord(image_id=each, split=CLASSES, label=label, label_name=each)
            for label, each in enumerate(class_names)
        ]
        return cls(name=name, class_names=tuple(class_names), texts=texts, records=records)

    def read(self, image_id: str) -> bytes:
        return self.texts[image_id].encode()

    def subset(self, records: Sequence[ImageRecord]) -> Self:
        texts = {record.image_id: self.texts[record.image_id] for record in records}
        return replace(self, records=records, texts=texts, notes=())


def class_list(path: Path, *, name: str | None = None) -> ClassDataset:
    """Open a file of class names as a dataset without images. Its name is the file's, without suffix."""
    names = read_class_names(path)
    return ClassDataset.of(name or path.stem, names, {each: each for each in names})


def read_class_names(path: Path) -> list[str]:
    """Read one name per line, without duplicates. Raises DatasetInvalid."""
    try:
        lines = read_text(path).splitlines()
    except OSError as error:
        raise DatasetInvalid(f"cannot read class names from {path}: {error.strerror}") from error
    except DocumentInvalid as error:
        raise DatasetInvalid(f"cannot read class names: {error}") from error
    if not (names := list(dict.fromkeys(line.strip() for line in lines if line.strip()))):
        raise DatasetInvalid(f"{path} names no class; write one name a line")
    return names


def read_descriptions(path: Path, class_names: Sequence[str]) -> dict[str, str]:
    """Read descriptions by class name: YAML `name: description`, or a table with columns label_name and description.

    Classes may be missing. Raises DatasetInvalid, also for a name that is no class, and TableInvalid.
    """
    found = _from_yaml(path) if path.suffix.lower() in YAML else _from_table(path)
    for name, description in found.items():
        if name not in class_names:
            known = ", ".join(f"'{printable(each, 40)}'" for each in class_names[:3])
            raise DatasetInvalid(
                f"{path} describes '{printable(name, 60)}', which is no class; classes are {known}, ..."
            )
        if len(description) > LONGEST_DESCRIPTION:
            raise DatasetInvalid(
                f"the description of '{printable(name, 60)}' in {path} has {len(description)} characters; at most "
                f"{LONGEST_DESCRIPTION} are taken"
            )
    return found


def _from_yaml(path: Path) -> dict[str, str]:
    try:
        document = read_yaml(path, as_text=True)
    except OSError as error:
        raise DatasetInvalid(f"cannot read class descriptions {path}: {error.strerror}") from error
    except DocumentInvalid as error:
        raise DatasetInvalid(f"class descriptions {error}") from error
    if not isinstance(document, dict) or not document:
        raise DatasetInvalid(f"{path} has no descriptions; write one a line, e.g. 'jay: \"a bird with a crest\"'")
    for name, description in document.items():
        if not (isinstance(name, str) and isinstance(description, str)):
            pair = printable(f"{name!r}: {description!r}", 80)
            raise DatasetInvalid(f"{path} has {pair}; write class name and description as text, in quotes")
    return {name: _one_line(description) for name, description in document.items() if description.strip()}


def _from_table(path: Path) -> dict[str, str]:
    table = read_table(path)
    for column in ("label_name", "description"):
        if column not in table.columns:
            known = ", ".join(printable(name, 40) for name in table.columns[:10])
            raise DatasetInvalid(f"{path} has no column '{column}'; it has {known}")
    descriptions = table.frame["description"].cast(pl.String).to_list()
    pairs = zip(table.names("label_name"), descriptions, strict=True)
    return {name: _one_line(description) for name, description in pairs if description and description.strip()}


def _one_line(text: str) -> str:
    return " ".join(text.split())
