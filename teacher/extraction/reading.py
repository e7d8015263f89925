"""Read a dataset's files into pixels and digests, slightly ahead of the model."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass

from PIL import Image

from storage.datasets.base import ImageDataset, ImageRecord
from storage.datasets.classes import ClassDataset
from storage.errors import StorageUnavailable
from storage.images.decode import ImageUnreadable, decode_image, shrink
from storage.images.unreachable import passing_reason
from teacher.extraction.comparison import GONE
from teacher.extraction.failures import UNREADABLE_NOW

CHUNK = 32  # images read ahead


@dataclass(frozen=True, slots=True)
class ReadImage:
    """An image of the dataset: its digest and pixels if available, otherwise the reason. The pixels of a class are its
    text.

    `gone` marks a missing file; any other unreadable one may be readable later. `passing` is the reason if a server or
    the network failed.
    """

    record: ImageRecord
    sha256: str | None
    pixels: Image.Image | str | None
    error: str | None
    seconds: float = 0.0  # of reading and decoding
    gone: bool = False
    passing: str | None = None


def read_image(dataset: ImageDataset, record: ImageRecord, max_pixels: int | None, *, draft: bool = False) -> ReadImage:
    """Return the image's digest and pixels, or the reason why there are none.

    With `draft` a JPEG is decoded at the smallest scale that has `max_pixels`.
    """
    started = time.perf_counter()
    try:
        data = dataset.read(record.image_id)
    except (OSError, StorageUnavailable) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        gone = isinstance(error, GONE)
        reason = f"{'cannot be read' if gone else UNREADABLE_NOW}: {why}"
        return ReadImage(record, None, None, reason, gone=gone, passing=passing_reason(error))
    except ImageUnreadable as error:  # of a part of an image
        return ReadImage(record, None, None, str(error), gone=True)
    sha256 = hashlib.sha256(data).hexdigest()
    if isinstance(dataset, ClassDataset):
        return ReadImage(record, sha256, data.decode(), None)
    try:
        pixels = shrink(decode_image(data, fewest=max_pixels if draft else None), max_pixels)
        return ReadImage(record, sha256, pixels, None, time.perf_counter() - started)
    except ImageUnreadable as error:
        return ReadImage(record, sha256, None, str(error))


def read_ahead(
    records: Sequence[ImageRecord],
    first: int,
    dataset: ImageDataset,
    max_pixels: int | None,
    readers: Executor,
    settled: Callable[[int], ReadImage | None],
    *,
    draft: bool = False,
) -> Iterator[list[ReadImage]]:
    """Yield chunks of images from row `first` on, read by `readers`, in the records' order; the next one is read while
    the caller uses this one. An image that is `settled`, by its row, is not read."""

    def submit(start: int) -> list[Future[ReadImage]]:
        return [read(row) for row in range(start, min(start + CHUNK, len(records)))]

    def read(row: int) -> Future[ReadImage]:
        found = settled(row)
        if found is None:
            return readers.submit(read_image, dataset, records[row], max_pixels, draft=draft)
        future: Future[ReadImage] = Future()
        future.set_result(found)
        return future

    ahead = submit(first)
    try:
        for start in range(first + CHUNK, len(records) + CHUNK, CHUNK):
            current, ahead = ahead, submit(start)
            yield [future.result() for future in current]
    finally:
        for future in ahead:  # not needed if the caller has failed
            future.cancel()
