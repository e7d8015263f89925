"""A cache of image digests: an image whose file has the recorded size and modification time is not read again.

It is stored next to the manifest, as `questions=<set fingerprint>.stamps` (Parquet: image_id, size, mtime_ns, view,
sha256). Nothing depends on it: if it is missing, damaged or of another version, every image is read.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from storage.answers.digests import Bools, Digests, IdIndex
from storage.answers.store import AnswerDirectory
from storage.concurrency import map_ahead
from storage.datasets.base import ImageDataset, ImageRecord, Stamp, StampedDataset
from storage.datasets.records import ids_of, image_ids_of
from storage.errors import StorageUnavailable
from storage.filesystem import list_folder, reading, write_stream

VERSION = b"1"
VERSION_KEY = b"aspects_image_stamps"
SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("mtime_ns", pa.int64(), nullable=False),
        pa.field("view", pa.string(), nullable=False),
        pa.field("sha256", pa.string()),
    ],
    metadata={VERSION_KEY: VERSION},
)
# On a filesystem with a coarse clock a file can change without a new modification time. As in git's index, a time that
# is not clearly older than the read is not trusted.
SETTLED_NS = 2_000_000_000
THREADS = 4
SLOW_SECONDS = 100e-6  # per file
AT_ONCE = 1000  # files per task of a thread
BATCH = 65_536  # rows of the file converted at once


NO_STAMP = Stamp(0, 0)


@dataclass(frozen=True, slots=True)
class Stamps:
    """`Stamp`s of N images: `size` and `mtime_ns` int64 [N], `view` int32 [N], a number in `views`; 0 where there is no
    stamp."""

    size: NDArray[np.int64]
    mtime_ns: NDArray[np.int64]
    view: NDArray[np.int32]
    views: dict[str, int] = field(default_factory=dict)

    @classmethod
    def empty(cls, count: int, views: dict[str, int] | None = None) -> Self:
        numbers = {} if views is None else views
        return cls(np.zeros(count, np.int64), np.zeros(count, np.int64), np.zeros(count, np.int32), numbers)

    def put(self, start: int, stamps: Sequence[Stamp | None]) -> None:
        """Put consecutive stamps, the first one at `start`."""
        rows = slice(start, start + len(stamps))
        known = [NO_STAMP if stamp is None else stamp for stamp in stamps]
        self.size[rows] = [stamp.size for stamp in known]
        self.mtime_ns[rows] = [stamp.mtime_ns for stamp in known]
        self.view[rows] = [
            0 if stamp is None else self.views.setdefault(stamp.view, len(self.views) + 1) for stamp in stamps
        ]

    def part(self, rows: slice) -> Stamps:
        return Stamps(self.size[rows], self.mtime_ns[rows], self.view[rows], self.views)

    def equal(self, other: Stamps) -> Bools:
        """Return which rows have the same stamp [N]; both must share `views`."""
        assert self.views is other.views
        same: Bools = (self.size == other.size) & (self.mtime_ns == other.mtime_ns) & (self.view == other.view)
        return same & (self.view > 0)


@dataclass(frozen=True, slots=True)
class ImageStamps:
    """The recorded stamps and digests of N images, by position in a list of records.

    `others` is the number of recorded images that are not among them.
    """

    stamps: Stamps
    digests: Digests
    others: int = 0

    @classmethod
    def empty(cls, count: int) -> Self:
        return cls(Stamps.empty(count), Digests.empty(count))

    def __len__(self) -> int:
        """Return the number of images with a stamp."""
        return int((self.stamps.view > 0).sum())

    def part(self, rows: slice) -> ImageStamps:
        return ImageStamps(self.stamps.part(rows), self.digests.part(rows))


def look_at(dataset: ImageDataset, records: Sequence[ImageRecord], into: Stamps) -> None:
    """Put the current stamp of each image `into` its row; images without a file, and datasets without stamps, have
    none."""
    if not isinstance(dataset, StampedDataset):
        return
    stamped: StampedDataset = dataset

    def some(start: int) -> list[Stamp | None]:
        return [stamp_of(stamped, image_id) for image_id in ids_of(records[start : start + AT_ONCE])]

    started = time.perf_counter()
    first = some(0)
    rest = range(AT_ONCE, len(records), AT_ONCE)
    # Threads hide network latency; on a local disk they take three times as long as a single one.
    slow = time.perf_counter() - started > SLOW_SECONDS * min(len(records), AT_ONCE)
    with ThreadPoolExecutor(THREADS) as threads:
        parts = (part for _, part in map_ahead(threads, some, rest, 2 * THREADS)) if slow else map(some, rest)
        for number, part in enumerate(chain([first], parts)):
            into.put(number * AT_ONCE, part)


def stamp_of(dataset: StampedDataset, image_id: str) -> Stamp | None:
    """Return the stamp of an image; None if there is no file."""
    try:
        return dataset.stamp(image_id)
    except OSError:
        return None


def is_settled(mtime_ns: NDArray[np.int64], looked_at_ns: int) -> Bools:
    """Return whether a later change of each file would change its stamp. `looked_at_ns` is when they were read, or
    earlier, in ns since the epoch."""
    settled: Bools = mtime_ns + SETTLED_NS < looked_at_ns
    return settled


def read_image_stamps(directory: AnswerDirectory, records: Sequence[ImageRecord]) -> ImageStamps:
    """Return the stamps of `records` last written for the directory, or else for another question set about the same
    images.

    Empty if they cannot be read or are not valid. The file is read in batches.
    """
    with contextlib.suppress(StorageUnavailable):
        beside = [info for info in list_folder(directory.filesystem, directory.parent) if info.extension == "stamps"]
        own = [info for info in beside if info.path == directory.image_stamps_path]
        for info in own or sorted(beside, key=lambda info: info.mtime_ns or 0)[-1:]:
            return _read(directory, info.path, records)
    return ImageStamps.empty(len(records))


def _read(directory: AnswerDirectory, path: str, records: Sequence[ImageRecord]) -> ImageStamps:
    found, others = ImageStamps.empty(len(records)), 0
    try:
        with reading(path), directory.filesystem.open_input_file(path) as source:
            file = pq.ParquetFile(source, page_checksum_verification=True)
            if not file.schema_arrow.equals(SCHEMA, check_metadata=False):
                return found
            if (file.schema_arrow.metadata or {}).get(VERSION_KEY) != VERSION:
                return found
            places = _Places(records)
            for batch in file.iter_batches(BATCH):
                others += _align(batch, places, found)
    except StorageUnavailable:
        raise
    # pyarrow raises errors of any type for corrupt bytes. Without the cache images are read, which is always correct.
    except Exception:
        return ImageStamps.empty(len(records))
    return ImageStamps(found.stamps, found.digests, others)


class _Places:
    """Finds the places of ids in a list of records. Without an index of all ids while they come in the list's order."""

    def __init__(self, records: Sequence[ImageRecord]) -> None:
        self._records = records
        self._next = 0
        self._index: IdIndex | None = None

    def of(self, image_ids: pa.Array) -> NDArray[np.int64]:
        """Return the place of each id, -1 for an unknown one."""
        if self._index is None:
            start, self._next = self._next, self._next + len(image_ids)
            expected = list(image_ids_of(self._records[start : self._next]))
            if pa.chunked_array(expected, pa.string()).equals(pa.chunked_array([image_ids])):
                return np.arange(start, self._next)
            self._index = IdIndex.of(image_ids_of(self._records))
        return self._index.rows(image_ids)


def _align(batch: pa.RecordBatch, places: _Places, into: ImageStamps) -> int:
    """Put a batch of the file at the positions of its images; return the number of images that have none."""
    image_ids, size, mtime_ns, view, sha256 = batch.columns
    rows = places.of(image_ids)
    known = rows >= 0
    rows = rows[known]
    digests = Digests.of(sha256.to_pylist())
    views = view.dictionary_encode()
    codes = [into.stamps.views.setdefault(name, len(into.stamps.views) + 1) for name in views.dictionary.to_pylist()]
    into.stamps.size[rows] = size.to_numpy()[known]
    into.stamps.mtime_ns[rows] = mtime_ns.to_numpy()[known]
    into.stamps.view[rows] = np.array(codes, np.int32)[views.indices.to_numpy()][known]
    into.digests.bytes[rows] = digests.bytes[known]
    into.digests.state[rows] = digests.state[known]
    return int((~known).sum())


def write_image_stamps(directory: AnswerDirectory, records: Sequence[ImageRecord], found: ImageStamps) -> None:
    """Replace the file by the stamps of `records`. Errors of the store are ignored: the file is only a cache."""

    def write(stream: pa.NativeFile) -> None:
        with pq.ParquetWriter(stream, SCHEMA, compression="zstd", write_page_checksum=True) as writer:
            start = 0
            for image_ids in image_ids_of(records):
                rows = slice(start, start + len(image_ids))
                writer.write_batch(_batch(image_ids, found.part(rows)))
                start = rows.stop

    with contextlib.suppress(OSError, StorageUnavailable):
        write_stream(directory.filesystem, directory.image_stamps_path, write)


def _batch(image_ids: pa.Array, found: ImageStamps) -> pa.RecordBatch:
    kept = np.flatnonzero(found.stamps.view > 0)
    names = ["", *found.stamps.views]
    columns = (
        image_ids.take(pa.array(kept)),
        pa.array(found.stamps.size[kept]),
        pa.array(found.stamps.mtime_ns[kept]),
        pa.array([names[code] for code in found.stamps.view[kept]], pa.string()),
        pa.array([found.digests.text(row) for row in kept], pa.string()),
    )
    return pa.record_batch(list(columns), schema=SCHEMA)
