"""A cache of image digests: an image whose file has the recorded size and modification time is not read again.

It is stored next to the manifest, as `questions=<set fingerprint>.stamps` (Parquet: image_id, size, mtime_ns, view,
sha256). Nothing depends on it: if it is missing, damaged or of another version, every image is read.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq

from storage.answers.store import AnswerDirectory
from storage.datasets.base import ImageDataset, Stamp, StampedDataset
from storage.errors import StorageUnavailable
from storage.filesystem import list_folder, read_file, write_whole

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

# By image id: a stamp, and the SHA-256 in the image's row (None for a box that cannot be shown).
ImageStamps = Mapping[str, tuple[Stamp, str | None]]


def look_at(dataset: ImageDataset, image_ids: Sequence[str]) -> dict[str, Stamp]:
    """Return the current stamp of each image; images without a file, and datasets without stamps, have none."""
    if not isinstance(dataset, StampedDataset):
        return {}
    stamped: StampedDataset = dataset

    def some(start: int) -> dict[str, Stamp]:
        found = {}
        for image_id in image_ids[start : start + AT_ONCE]:
            with contextlib.suppress(OSError):
                found[image_id] = stamped.stamp(image_id)
        return found

    started = time.perf_counter()
    found = some(0)
    rest = range(AT_ONCE, len(image_ids), AT_ONCE)
    # Threads hide network latency; on a local disk they take three times as long as a single one.
    slow = time.perf_counter() - started > SLOW_SECONDS * min(len(image_ids), AT_ONCE)
    with ThreadPoolExecutor(THREADS) as threads:
        for part in threads.map(some, rest) if slow else map(some, rest):
            found.update(part)
    return found


def is_settled(stamp: Stamp, looked_at_ns: int) -> bool:
    """Return whether a later change of the file would change its stamp. `looked_at_ns` is when it was read, in ns since
    the epoch."""
    return stamp.mtime_ns + SETTLED_NS < looked_at_ns


def read_image_stamps(directory: AnswerDirectory) -> ImageStamps:
    """Return the stamps last written for the directory, or else for another question set about the same images.

    Empty if they cannot be read or are not valid.
    """
    with contextlib.suppress(StorageUnavailable):
        beside = [info for info in list_folder(directory.filesystem, directory.parent) if info.extension == "stamps"]
        own = [info for info in beside if info.path == directory.image_stamps_path]
        for info in own or sorted(beside, key=lambda info: info.mtime_ns or 0)[-1:]:
            return _read(directory, info.path)
    return {}


def _read(directory: AnswerDirectory, path: str) -> ImageStamps:
    try:
        data = read_file(directory.filesystem, path)
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        if not file.schema_arrow.equals(SCHEMA, check_metadata=False):
            return {}
        if (file.schema_arrow.metadata or {}).get(VERSION_KEY) != VERSION:
            return {}
        columns = [column.to_pylist() for column in file.read().columns]
    # pyarrow raises errors of any type for corrupt bytes. Without the cache images are read, which is always correct.
    except Exception:
        return {}
    image_ids, *stamps, digests = columns
    return dict(zip(image_ids, zip(map(Stamp, *stamps), digests, strict=True), strict=True))


def write_image_stamps(directory: AnswerDirectory, stamps: ImageStamps) -> None:
    """Replace the file by `stamps`. Errors of the store are ignored: the file is only a cache."""
    seen, digests = [stamp for stamp, _ in stamps.values()], [digest for _, digest in stamps.values()]
    values = (
        list(stamps),
        [stamp.size for stamp in seen],
        [stamp.mtime_ns for stamp in seen],
        [stamp.view for stamp in seen],
        digests,
    )
    buffer = pa.BufferOutputStream()
    table = pa.table([pa.array(column, field.type) for column, field in zip(values, SCHEMA, strict=True)], SCHEMA)
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    with contextlib.suppress(OSError, StorageUnavailable):
        write_whole(directory.filesystem, directory.image_stamps_path, bytes(buffer.getvalue().to_pybytes()))
