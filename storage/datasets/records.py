"""Records of images, and many of them as columns: about 10 bytes an image besides its id, not a Python object."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from operator import eq
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # a folder of images is opened without loading it
    import pyarrow as pa

# Label of an image of unknown class.
UNKNOWN = -1
# Between an image's id and the number of a box in it.
BOX_MARK = "#"
CHUNK = 65_536  # rows converted at once, and records that are columns rather than a list
AT_ONCE = 8192  # objects of records that are converted at once

Corners = tuple[float, float, float, float]  # left, top, right, bottom in pixels of the upright image


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """One image.

    `image_id` is its path relative to the dataset's root, with forward slashes, and never changes. `label` is UNKNOWN
    and `label_name` empty for an image without a class. A record with a `box` is one object of an image: its id is the
    image's, BOX_MARK and the box's number.
    """

    image_id: str
    split: str
    label: int
    label_name: str
    box: Corners | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordColumns:
    """The columns of N records without boxes.

    `splits` and `label_names` are indices [N] into `split_names` and `names`; `labels` are int32 [N].
    """

    image_ids: pa.ChunkedArray
    splits: NDArray[np.uint16]
    split_names: tuple[str, ...]
    labels: NDArray[np.int32]
    label_names: NDArray[np.int32]
    names: tuple[str, ...]


class ImageRecords(Sequence[ImageRecord]):
    """A sequence of records that are made when they are used. A slice shares the columns; a pickle is a tuple."""

    __slots__ = ("columns", "start", "stop")

    def __init__(self, columns: RecordColumns, start: int = 0, stop: int | None = None) -> None:
        self.columns = columns
        self.start, self.stop = start, len(columns.labels) if stop is None else stop

    @classmethod
    def of(cls, records: Iterable[ImageRecord]) -> Self:
        """Convert `records`, which may be a generator. They have no boxes."""
        import pyarrow as pa

        chunks: list[pa.Array] = []
        splits, names = dict[str, int](), dict[str, int]()
        numbers: list[NDArray[np.int32]] = []
        every = iter(records)
        while some := list(islice(every, AT_ONCE)):
            chunks.append(pa.array([record.image_id for record in some], pa.string()))
            columns = (
                [splits.setdefault(record.split, len(splits)) for record in some],
                [record.label for record in some],
                [names.setdefault(record.label_name, len(names)) for record in some],
            )
            numbers.append(np.array(columns, np.int32))
        split_codes, labels, name_codes = np.concatenate([np.empty((3, 0), np.int32), *numbers], axis=1)
        found = RecordColumns(
            image_ids=pa.chunked_array(chunks, pa.string()),
            splits=split_codes.astype(np.uint16),
            split_names=tuple(splits),
            labels=labels.copy(),
            label_names=name_codes.copy(),
            names=tuple(names),
        )
        return cls(found)

    def __len__(self) -> int:
        return self.stop - self.start

    @overload
    def __getitem__(self, index: int) -> ImageRecord: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ImageRecord]: ...
    def __getitem__(self, index: int | slice) -> ImageRecord | Sequence[ImageRecord]:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                return [self[place] for place in range(start, stop, step)]
            return type(self)(self.columns, self.start + start, self.start + max(start, stop))
        columns, row = self.columns, self.start + range(len(self))[index]
        return ImageRecord(
            image_id=columns.image_ids[row].as_py(),
            split=columns.split_names[columns.splits[row]],
            label=int(columns.labels[row]),
            label_name=columns.names[columns.label_names[row]],
        )

    def __iter__(self) -> Iterator[ImageRecord]:
        for image_id, split, label, name in self.rows():
            yield ImageRecord(image_id=image_id, split=split, label=label, label_name=name)

    def rows(self) -> Iterator[tuple[str, str, int, str]]:
        """Yield image_id, split, label and label_name of each record."""
        columns = self.columns
        for start in range(self.start, self.stop, CHUNK):
            part = slice(start, min(start + CHUNK, self.stop))
            yield from zip(
                columns.image_ids.slice(part.start, part.stop - part.start).to_pylist(),
                map(columns.split_names.__getitem__, columns.splits[part].tolist()),
                columns.labels[part].tolist(),
                map(columns.names.__getitem__, columns.label_names[part].tolist()),
                strict=True,
            )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        if len(self) != len(other):
            return False
        if isinstance(other, ImageRecords):
            # The ids first: comparing them makes no Python objects.
            return self.image_ids.equals(other.image_ids) and all(map(eq, self.rows(), other.rows()))
        return all(map(eq, self, other))

    __hash__ = None  # type: ignore[assignment]  # like a list

    def __repr__(self) -> str:
        return f"<{len(self)} image records>"

    def __reduce__(self) -> Any:
        return tuple, (tuple(self),)

    @property
    def image_ids(self) -> pa.ChunkedArray:
        return self.columns.image_ids.slice(self.start, len(self))

    def splits(self) -> list[str]:
        """Return the splits in the order of their first images."""
        codes = self.columns.splits[self.start : self.stop]
        found, first = np.unique(codes, return_index=True)
        return [self.columns.split_names[code] for code in found[np.argsort(first)]]

    def of_splits(self, splits: Collection[str]) -> ImageRecords:
        """Return the records of these splits, in order."""
        import pyarrow as pa

        names = self.columns.split_names
        wanted = np.array([name in splits for name in names], bool)[self.columns.splits[self.start : self.stop]]
        rows = np.flatnonzero(wanted) + self.start
        if len(rows) == 0:
            return type(self)(self.columns, self.start, self.start)
        if rows[-1] - rows[0] + 1 == len(rows):
            return type(self)(self.columns, int(rows[0]), int(rows[-1]) + 1)
        return type(self)(
            RecordColumns(
                image_ids=self.columns.image_ids.take(pa.array(rows)),
                splits=self.columns.splits[rows],
                split_names=names,
                labels=self.columns.labels[rows],
                label_names=self.columns.label_names[rows],
                names=self.columns.names,
            )
        )


def gathered(records: Iterable[ImageRecord]) -> Sequence[ImageRecord]:
    """Return the records as columns, or as a list where they are few."""
    every = iter(records)
    first = list(islice(every, CHUNK))
    return ImageRecords.of(chain(first, every)) if len(first) == CHUNK else first


def are_equal(one: Sequence[ImageRecord], other: Sequence[ImageRecord]) -> bool:
    """Return whether two sequences of any type have the same records."""
    return one == other if isinstance(one, ImageRecords) else len(one) == len(other) and all(map(eq, one, other))


def ids_of(records: Sequence[ImageRecord]) -> list[str]:
    if isinstance(records, ImageRecords):
        found: list[str] = records.image_ids.to_pylist()
        return found
    return [record.image_id for record in records]


def splits_of(records: Sequence[ImageRecord]) -> list[str]:
    """Return the splits of records in the order of their first images."""
    if isinstance(records, ImageRecords):
        return records.splits()
    return list(dict.fromkeys(record.split for record in records))


def image_ids_of(records: Sequence[ImageRecord]) -> Iterator[pa.Array]:
    """Yield the ids in chunks of at most CHUNK."""
    import pyarrow as pa

    if isinstance(records, ImageRecords):
        for batch in pa.table([records.image_ids], ["image_id"]).to_batches(max_chunksize=CHUNK):
            yield batch.column(0)
        return
    for start in range(0, len(records), CHUNK):
        yield pa.array([record.image_id for record in records[start : start + CHUNK]], pa.string())
