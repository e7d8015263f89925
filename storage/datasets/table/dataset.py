"""Datasets described by tables of paths and labels: CSV, Parquet or JSON lines."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from storage.datasets.base import UNKNOWN, UNLABELLED, DatasetInvalid, ImageDataset, ImageRecord
from storage.datasets.files import counted, is_usual_split, listing, missing_classes, split_rank
from storage.datasets.hold_out import held_out_split
from storage.datasets.records import gathered
from storage.datasets.specification import Specification
from storage.datasets.table.columns import Columns, find_columns
from storage.datasets.table.images import find_images
from storage.datasets.trees import ImageTree
from storage.tables import Table
from storage.text import printable

OPTIONS = ("image", "label", "split", "images", "group", "test", "unlabelled", "drop", "others")
TRAIN = "train"
MOST_DISTINCT = 20  # so many rows may each have a label of their own


@dataclass(frozen=True, slots=True)
class Row:
    """A row whose image exists. `label` is empty for an image of unknown class."""

    image_id: str
    split: str
    label: str
    where: str


@dataclass
class TableReader:
    """Collects the rows of one or more tables. `tree` has the images, `images` are the files in it."""

    tree: ImageTree
    asked: Specification
    images: Sequence[str]
    rows: dict[str, Row] = field(default_factory=dict)  # by image id
    named: set[str] = field(default_factory=set)  # ids of images that some row names
    missing: list[str] = field(default_factory=list)  # rows whose image does not exist
    lost: dict[str, str] = field(default_factory=dict)  # by label: the first of these rows
    dropped: int = 0
    has_splits: bool = False
    integers: bool = True  # labels are numbers in every table

    def add(self, table: Table, split: str | None = None, *, below: str = "") -> None:
        """Add a table's rows, all of them in `split` unless it is None. Paths are relative to the folder `below`.

        Raises DatasetInvalid and TableInvalid.
        """
        columns = find_columns(table, self.asked)
        labels = table.texts(columns.label) if columns.label else [""] * len(table.rows)
        self.integers &= columns.label is None or table.is_integer(columns.label)
        _refuse_descriptions(table, columns, labels)
        located = self._locate(table, columns.image, below)
        self.named.update(image_id for image_id in located if image_id is not None)
        splits = self._splits(table, columns, located, split)
        unlabelled, drop = self.asked.texts("unlabelled"), self.asked.texts("drop")
        for number, image_id, label, its in zip(table.rows, located, labels, splits, strict=True):
            where = f"{table.path}, row {number}"
            if label in drop and label:
                self.dropped += 1
            elif image_id is None:
                self.missing.append(f"row {number}" if split is None else where)
                self.lost.setdefault("" if label in unlabelled else label, where)
            else:
                known = label not in unlabelled and its != UNLABELLED
                self._add(Row(image_id, its, label if known else "", where))
        self._require_known(unlabelled + drop, labels, columns, table)

    def _locate(self, table: Table, column: str, below: str) -> list[str | None]:
        if not below:
            return find_images(table, column, self.tree, self.images)
        start = f"{below}/"
        images = [image.removeprefix(start) for image in self.images if image.startswith(start)]
        found = find_images(table, column, self.tree.subtree(below), images)
        return [None if image is None else f"{start}{image}" for image in found]

    def _add(self, row: Row) -> None:
        if (first := self.rows.setdefault(row.image_id, row)) is not row:
            raise DatasetInvalid(
                f"image {printable(row.image_id, 200)} is in {first.where} and in {row.where}; keep one"
            )

    def _splits(self, table: Table, columns: Columns, located: Sequence[str | None], split: str | None) -> list[str]:
        share = self.asked.share("test")
        if split is not None or (columns.split is not None):
            self.has_splits = True
            if share is not None:
                what = f"the column '{columns.split}'" if split is None else "a table for each split"
                raise DatasetInvalid(f"{table.path} has {what}, so test= holds nothing out; remove it, or add split=")
        if split is not None:
            return [split] * len(located)
        if columns.split is not None:
            words = table.texts(columns.split)
            return [_split(table, row, word) for row, word in zip(table.rows, words, strict=True)]
        if share is None:
            folders = [TRAIN if image is None else image.partition("/")[0].casefold() for image in located]
            if all(map(is_usual_split, folders)) and any(located):
                self.has_splits = True
                return folders
            return [TRAIN] * len(located)
        self.has_splits = True
        groups = table.texts(columns.group) if columns.group else [""] * len(located)
        return [held_out_split(group or image_id or "", share) for group, image_id in zip(groups, located, strict=True)]

    def _require_known(self, given: Iterable[str], labels: Sequence[str], columns: Columns, table: Table) -> None:
        for label in given:
            if label not in labels:
                raise DatasetInvalid(
                    f"no row of {table.path} has the label '{printable(label, 80)}' in column '{columns.label}'; "
                    "correct unlabelled= or drop="
                )

    def dataset(self, name: str) -> ImageDataset:
        """Return the dataset: its splits in the order train, val, test, others, and rows in the tables' order."""
        names = {row.label: row.where for row in self.rows.values() if row.label}
        self._refuse_losses(names)
        _refuse_two_spellings(names)
        class_names = sorted(names, key=int) if self.integers else sorted(names)
        labels = {label: number for number, label in enumerate(class_names)}
        rest = [image for image in self.images if image not in self.named]
        rows = list(self.rows.values())
        if self._wants_others():
            rows += [Row(image, UNLABELLED, "", "") for image in rest]
            rest = []
        rows.sort(key=lambda row: split_rank(row.split if row.label else UNLABELLED))
        records = gathered(
            ImageRecord(
                image_id=row.image_id,
                split=row.split if row.label else UNLABELLED,
                label=labels.get(row.label, UNKNOWN),
                label_name=row.label,
            )
            for row in rows
        )
        notes = (*self._notes(rest, records), *missing_classes(records, class_names))
        return self.tree.dataset(name=name, class_names=tuple(class_names), records=records, notes=notes)

    def _wants_others(self) -> bool:
        others = self.asked.text("others")
        if others not in (None, UNLABELLED):
            raise DatasetInvalid(f"others={printable(others or '', 80)} of {self.asked.place} must be {UNLABELLED}")
        return others is not None

    def _refuse_losses(self, names: Mapping[str, str]) -> None:
        """Raise DatasetInvalid if there are no classes, or one of them has lost its images."""
        said = (
            f"{counted(len(self.missing), 'row')} of {self.asked.place} name an image that is not in {self.tree.place}"
        )
        example = f"{said}, e.g. {listing(self.missing[:3])}; name the folder of the images: ?images=FOLDER"
        if not self.rows and self.missing:
            raise DatasetInvalid(example)
        for label, where in self.lost.items():
            if label and label not in names:
                raise DatasetInvalid(f"class '{printable(label, 80)}' ({where}) has lost all of its images: {example}")
        if not names:
            raise DatasetInvalid(
                f"no row of {self.asked.place} has a label; name the column: {self.asked.place}?label=COLUMN"
            )

    def _notes(self, rest: Sequence[str], records: Sequence[ImageRecord]) -> list[str]:
        notes = []
        if self.missing:
            notes.append(f"{counted(len(self.missing), 'row')} without an image left out: {listing(self.missing)}")
        if self.dropped:
            notes.append(f"{counted(self.dropped, 'row')} left out by their label (drop=)")
        if unlabelled := sum(record.split == UNLABELLED for record in records):
            notes.append(f"{counted(unlabelled, 'image')} without a label, in split '{UNLABELLED}'")
        if rest:
            hint = f"others={UNLABELLED} takes them"
            notes.append(f"{counted(len(rest), 'image')} without a row left out ({hint}): {listing(rest)}")
        if not self.has_splits:
            hint = "?test=0.2 holds out a fifth for testing"
            notes.append(f"no column of splits, so all labelled images are in '{TRAIN}'; {hint}")
        return notes


def _split(table: Table, row: int, word: str) -> str:
    split = word.casefold() if is_usual_split(word) else word
    if not split or not split.isprintable() or "/" in split or split.startswith(".") or len(split) > 100:
        raise DatasetInvalid(
            f"{table.path}, row {row}: {printable(repr(word), 80)} names no split; write train, val, test or another "
            "word"
        )
    return split


def _refuse_descriptions(table: Table, columns: Columns, labels: Sequence[str]) -> None:
    """Raise DatasetInvalid if every row has a label of its own: captions or measurements, not classes."""
    if len(labels) > MOST_DISTINCT and len(set(labels)) == len(labels):
        raise DatasetInvalid(
            f"column '{columns.label}' of {table.path} has another value in every row, so these are no classes; "
            "name the column of classes: ?label=COLUMN"
        )


def _refuse_two_spellings(names: Mapping[str, str]) -> None:
    seen: dict[str, str] = {}
    for label in names:
        meant = unicodedata.normalize("NFKC", label).casefold().replace("-", " ").replace("_", " ")
        if (first := seen.setdefault(meant, label)) != label:
            raise DatasetInvalid(
                f"'{printable(first, 80)}' ({names[first]}) and '{printable(label, 80)}' ({names[label]}) are one "
                "class in two spellings; write both alike"
            )
