"""Find the columns of a table that hold images, labels and splits."""

from __future__ import annotations

from dataclasses import dataclass

from storage.datasets.base import DatasetInvalid
from storage.datasets.files import listing
from storage.datasets.specification import Specification
from storage.tables import Table

# Names that are recognised in any case, with "-" and " " for "_". Of several image columns the first is used, since a
# wrong choice is noticed: its files are not there.
IMAGE_NAMES = (
    *("file_name", "filename", "image_path", "img_path", "file_path", "filepath", "image_file", "image_name", "path"),
    *("image", "img", "file", "image_id", "img_id", "id"),
)
LABEL_NAMES = ("label", "labels", "class", "class_name", "label_name", "category", "category_name", "target", "choice")
SPLIT_NAMES = ("split", "set", "subset", "partition")


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of a table's columns; None for one that it does not have."""

    image: str
    label: str | None
    split: str | None
    group: str | None


def find_columns(table: Table, asked: Specification) -> Columns:
    """Return the columns that `asked` names, or else those with a usual name.

    `split=` with an empty value means no column. Raises DatasetInvalid for a column that the table does not have, and
    if there is no image column or there are several label or split columns.
    """
    image = _named(table, asked, "image") or next(iter(_usual(table, IMAGE_NAMES)), None)
    if image is None:
        raise DatasetInvalid(
            f"{table.path} has no column of images that has one of the usual names; it has {listing(table.columns)}; "
            f"name it: {asked.place}?image=COLUMN"
        )
    return Columns(
        image=image,
        label=_only(table, asked, "label", LABEL_NAMES),
        split=_only(table, asked, "split", SPLIT_NAMES),
        group=_named(table, asked, "group"),
    )


def _named(table: Table, asked: Specification, option: str) -> str | None:
    column = asked.text(option)
    if column and column not in table.columns:
        raise DatasetInvalid(f"{table.path} has no column '{column}' ({option}=); it has {listing(table.columns)}")
    return column or None


def _only(table: Table, asked: Specification, option: str, names: tuple[str, ...]) -> str | None:
    if option in asked.options:
        return _named(table, asked, option)
    found = _usual(table, names)
    if len(found) > 1:
        raise DatasetInvalid(
            f"{table.path} has several columns that may hold the {option}: {listing(found)}; name one: "
            f"{asked.place}?{option}={found[0]}"
        )
    return found[0] if found else None


def _usual(table: Table, names: tuple[str, ...]) -> list[str]:
    """Return the columns with one of the usual names, in the order of these."""
    by_name = {column.casefold().replace("-", "_").replace(" ", "_"): column for column in table.columns}
    return [by_name[name] for name in names if name in by_name]
