"""The classes of a Hugging Face dataset, whose splits may encode labels differently."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.datasets.base import DatasetInvalid
from storage.datasets.files import listing
from storage.text import printable

if TYPE_CHECKING:
    import datasets

Labels = dict[str, list[int]]


def read_labels(tables: Mapping[str, datasets.Dataset], column: str, where: str) -> tuple[tuple[str, ...], Labels]:
    """Return class names, and every split's labels as indices of them.

    Splits that list their classes are joined by name, in the first one's order; classes that are plain text or numbers
    are sorted. Raises DatasetInvalid for rows without a label, and if splits do not match.
    """
    import datasets

    features = {split: table.features[column] for split, table in tables.items()}
    values = {split: list(table[column]) for split, table in tables.items()}
    listed = {split: kind for split, kind in features.items() if isinstance(kind, datasets.ClassLabel)}
    for split, feature in features.items():
        if not isinstance(feature, datasets.ClassLabel | datasets.Value):
            raise DatasetInvalid(f"column '{column}' of hf:{where} holds {feature}, not one label; name another")
        _refuse_missing(values, split, where)
    if len(listed) < len(features):
        _refuse_several_kinds(values, listed, where)
    if not listed:
        distinct: list[Any] = sorted({value for found in values.values() for value in found})
        index = {value: number for number, value in enumerate(distinct)}
        return tuple(map(str, distinct)), {split: [index[value] for value in found] for split, found in values.items()}
    names = _join_names(listed, where)
    index = {name: number for number, name in enumerate(names)}
    named = {split: _named(found, listed.get(split), split, where) for split, found in values.items()}
    return names, {split: [_find(name, index, split, where) for name in found] for split, found in named.items()}


def _refuse_missing(values: Mapping[str, Sequence[Any]], split: str, where: str) -> None:
    row = next((row for row, value in enumerate(values[split]) if _is_missing(value)), None)
    if row is not None:
        others = ",".join(other for other in values if other != split) or split
        raise DatasetInvalid(
            f"row {row} of split '{split}' of hf:{where} has no label; take the labelled splits only: "
            f"hf:{where}?split={others}"
        )


def _is_missing(value: Any) -> bool:
    return value is None or value == -1 or value == "" or value != value


def _refuse_several_kinds(values: Mapping[str, Sequence[Any]], listed: Mapping[str, Any], where: str) -> None:
    """Raise DatasetInvalid for text in one split and numbers in another, which cannot be matched."""
    kinds = {
        split: "text" if split in listed or isinstance(found[0], str) else type(found[0]).__name__
        for split, found in values.items()
        if found
    }
    (first, kind), *others = kinds.items()
    for split, other in others:
        if other != kind:
            raise DatasetInvalid(
                f"labels of hf:{where} are {_kind(first, kind, listed)} in split '{first}' and "
                f"{_kind(split, other, listed)} in split '{split}'; write them alike, or take one: "
                f"hf:{where}?split={first}"
            )


def _kind(split: str, kind: str, listed: Mapping[str, Any]) -> str:
    return "class names" if split in listed else kind


def _join_names(listed: Mapping[str, datasets.ClassLabel], where: str) -> tuple[str, ...]:
    """Return the first split's class names, then those that others add. Raises DatasetInvalid for splits without a
    common class."""
    (first, kind), *others = listed.items()
    names = list(kind.names)
    for split, other in others:
        if not set(names) & set(other.names):
            raise DatasetInvalid(
                f"splits '{first}' ({listing(names)}) and '{split}' ({listing(other.names)}) of hf:{where} have no "
                f"class in common; take one: hf:{where}?split={first}"
            )
        names += [name for name in other.names if name not in names]
    return tuple(names)


def _named(found: Sequence[Any], kind: datasets.ClassLabel | None, split: str, where: str) -> list[str]:
    """Return the class name of each row."""
    if kind is None:
        return [str(value) for value in found]
    names = kind.names
    wrong = next((row for row, value in enumerate(found) if not 0 <= value < len(names)), None)
    if wrong is not None:
        raise DatasetInvalid(
            f"row {wrong} of split '{split}' of hf:{where} has label {found[wrong]}, but there are {len(names)} classes"
        )
    return [names[value] for value in found]


def _find(name: str, index: Mapping[str, int], split: str, where: str) -> int:
    if name not in index:
        raise DatasetInvalid(
            f"split '{split}' of hf:{where} has the class '{printable(name)}', which the other splits do not list"
        )
    return index[name]


def refuse_other_lists(place: Path, features: datasets.Features, column: str, where: str) -> None:
    """Raise DatasetInvalid if a Parquet file of `place` lists other classes than the splits were read with.

    The library uses the classes of the first file for all, which would change the meaning of the labels in the others.
    """
    names: list[str] | None = getattr(features[column], "names", None)
    if names is None:
        return
    for file in sorted(place.rglob("*.parquet")) if place.is_dir() else [place]:
        own = _own_names(file, column)
        if own is not None and own != names:
            raise DatasetInvalid(
                f"{file} lists its classes as {listing(own)}, other files of hf:{where} as {listing(names)}; write "
                "them with one list"
            )


def _own_names(file: Path, column: str) -> list[str] | None:
    """Return the class names in a Parquet file; None if it has none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_schema(file).metadata or {}
        return list(json.loads(metadata[b"huggingface"])["info"]["features"][column]["names"])
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError):  # not Parquet, or not written by the library
        return None
