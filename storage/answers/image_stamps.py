"""A cache of image digests: an image whose file has the recorded size and modification time is not read again.

It lies beside the manifest, in `questions=<set fingerprint>.stamps` (Parquet: image_id, size, mtime_ns, view, sha256).
Nothing depends on it: where it is missing, damaged or of another version, every image is read.
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
# A file can be written twice without a change of its time, where the filesystem's clock is coarse. As in git's index, a
# time that is not clearly older than the look at it says nothing.
SETTLED_NS = 2_000_000_000
THREADS = 4
SLOW_SECONDS = 100e-6  # for one file
AT_ONCE = 1000  # files that one thread looks at in a row

# By image id: a stamp, and the SHA-256 in the image's row (None: a part of an image that cannot be shown).
ImageStamps = Mapping[str, tuple[Stamp, str | None]]


def look_at(dataset: ImageDataset, image_ids: Sequence[str]) -> dict[str, Stamp]:
    """The stamp of each image as it is now; nothing for images without a file, and for datasets without stamps."""
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
    # Threads hide the wait for a network; on a local disk they take three times as long as one.
    slow = time.perf_counter() - started > SLOW_SECONDS * min(len(image_ids), AT_ONCE)
    with ThreadPoolExecutor(THREADS) as threads:
        for part in threads.map(some, rest) if slow else map(some, rest):
            found.update(part)
    return found


def is_settled(stamp: Stamp, looked_at_ns: int) -> bool:
    """Whether a later change of the file would show in its stamp; `looked_at_ns` is the time of the look, in ns since
    the epoch."""
    return stamp.mtime_ns + SETTLED_NS < looked_at_ns


def read_image_stamps(directory: AnswerDirectory) -> ImageStamps:
    """What `write_image_stamps` wrote last for the directory, or else for another question set about the same images.
    Nothing where that cannot be read or is not valid."""
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
    # Of a damaged file pyarrow raises whatever it finds; without the file images are read, which is always right.
    except Exception:
        return {}
    image_ids, *stamps, digests = columns
    return dict(zip(image_ids, zip(map(Stamp, *stamps), digests, strict=True), strict=True))


def write_image_stamps(directory: AnswerDirectory, stamps: ImageStamps) -> None:
    """Replace the file by `stamps`. A store that does not take it is no error: it is only a cache."""
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
