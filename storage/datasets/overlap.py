"""Find images that are in several splits of a dataset, which makes test scores too high."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator

from storage.datasets.base import FileDataset, ImageRecord
from storage.datasets.files import counted, listing
from storage.images.decode import ImageUnreadable

# A dataset with more files, or with more bytes in files of equal size, is not compared, and slow disks are not
# waited for: opening a dataset must be fast.
MOST_FILES = 20_000
MOST_BYTES = 64 << 20
MOST_SECONDS = 2.0


def shared_images(dataset: FileDataset) -> str | None:
    """Return one line about images with the same bytes in several splits, as far as found within MOST_SECONDS.

    None if there are none, and for datasets too large to compare. Only files of equal size are read.
    """
    deadline = time.monotonic() + MOST_SECONDS
    if len({record.split for record in dataset.records}) < 2 or len(dataset.records) > MOST_FILES:
        return None
    by_size: dict[object, list[ImageRecord]] = {}
    for record in dataset.records:
        by_size.setdefault(_size(dataset, record), []).append(record)
    same_size = {size: group for size, group in by_size.items() if isinstance(size, int) and size and _is_split(group)}
    if sum(size * len(group) for size, group in same_size.items()) > MOST_BYTES:
        return None
    shared = [
        copies for group in same_size.values() if time.monotonic() < deadline for copies in _copies(dataset, group)
    ]
    if not shared:
        return None
    shown = listing(" = ".join(record.image_id for record in copies[:2]) for copies in shared)
    return f"{counted(len(shared), 'image')} in more than one split: {shown}"


def _size(dataset: FileDataset, record: ImageRecord) -> int | None:
    try:
        return dataset.places[record.image_id].stat().st_size
    except OSError:
        return None


def _copies(dataset: FileDataset, records: Iterable[ImageRecord]) -> Iterator[list[ImageRecord]]:
    """Return images with the same bytes, one of each split."""
    by_digest: dict[bytes, dict[str, ImageRecord]] = {}
    for record in records:
        try:
            digest = hashlib.sha256(dataset.read(record.image_id)).digest()
        except (OSError, ImageUnreadable):
            continue
        by_digest.setdefault(digest, {}).setdefault(record.split, record)
    return (list(found.values()) for found in by_digest.values() if len(found) > 1)


def _is_split(records: Iterable[ImageRecord]) -> bool:
    return len({record.split for record in records}) > 1
