"""Find images that have changed since the store's answers were given, with as few reads as possible."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from storage.answers.image_stamps import ImageStamps, is_settled, look_at
from storage.answers.reuse import KnownAnswers
from storage.answers.schema import ShardAnswers
from storage.datasets.base import ImageDataset, ImageRecord, Stamp
from storage.errors import StorageUnavailable
from storage.images.decode import ImageUnreadable
from teacher.extraction.failures import is_for_now

READERS = 4  # threads that read and decode
GONE = (FileNotFoundError, NotADirectoryError)  # other errors do not show whether it exists
UNREADABLE = "unreadable"  # placeholder digest of an image that cannot be read now


class ImageComparison:
    """The current state of a plan's images.

    An image is not read if its stamp is the recorded one, unless `verify`; otherwise it is read once.
    """

    def __init__(
        self, dataset: ImageDataset, image_ids: Sequence[str], recorded: ImageStamps, *, verify: bool = False
    ) -> None:
        self.dataset = dataset
        self.recorded = recorded
        self._trusted = {} if verify else recorded
        # Before any image is read, so that a later change of a file shows in its stamp.
        self._looked_at_ns = time.time_ns()
        self._stamps = look_at(dataset, image_ids)
        self._digests: dict[str, str | None] = {}

    def is_same(self, answers: ShardAnswers, readers: ThreadPoolExecutor) -> bool:
        """Return whether all images of a shard are unchanged.

        One that cannot be read now counts as unchanged, so that it keeps its answers, and so does one that has not been
        read, because none of its pairs was asked.
        """
        doubtful = [
            (record.image_id, digest)
            for record, digest, error in zip(answers.records, answers.image_sha256, answers.errors, strict=True)
            if (digest is not None or error is not None)
            and (
                self._trusted.get(record.image_id) != (self._stamps.get(record.image_id), digest)
                or (error is not None and is_for_now(error))
            )
        ]
        found = list(readers.map(self._read, [image_id for image_id, _ in doubtful]))
        return all(now in (before, UNREADABLE) for now, (_, before) in zip(found, doubtful, strict=True))

    def digest(self, image_id: str, unreadable: str | None) -> str | None:
        """Return the SHA-256 of the image; None if it no longer exists or cannot be shown; `unreadable` if it cannot be
        read now."""
        stamp, digest = self._trusted.get(image_id, (None, None))
        if stamp is not None and stamp == self._stamps.get(image_id) and image_id not in self._digests:
            return digest
        found = self._read(image_id)
        return unreadable if found == UNREADABLE else found

    def to_record(self, parts: Iterable[ShardAnswers], known: KnownAnswers | None = None) -> ImageStamps:
        """Return the stamps of all images in finished shards whose digest is newer than their stamp.

        `known` has the answers from before the run.
        """
        found: dict[str, tuple[Stamp, str | None]] = {}
        for part in parts:
            for record, digest, error in zip(part.records, part.image_sha256, part.errors, strict=True):
                stamp = self._stamps.get(record.image_id)
                not_read = digest is None if error is None else is_for_now(error)
                if stamp is None or not_read:
                    continue
                entry = stamp, digest
                if entry == self.recorded.get(record.image_id) or (
                    is_settled(stamp, self._looked_at_ns) and self._was_read(record, digest, known)
                ):
                    found[record.image_id] = entry
        return found

    def _was_read(self, record: ImageRecord, digest: str | None, known: KnownAnswers | None) -> bool:
        """Return whether a digest was computed after the stamp was read.

        An image that could not be read when it was asked about keeps its previous digest.
        """
        if record.image_id in self._digests and self._digests[record.image_id] == digest:
            return True
        return known is not None and known.digest_of(record) != digest

    def _read(self, image_id: str) -> str | None:
        if image_id not in self._digests:
            self._digests[image_id] = digest_of(self.dataset, image_id, UNREADABLE)
        return self._digests[image_id]


def digest_of(dataset: ImageDataset, image_id: str, unreadable: str | None = None) -> str | None:
    """Return the SHA-256 of the image's file; None if it no longer exists or is a box that cannot be shown;
    `unreadable` if it cannot be read right now."""
    try:
        return hashlib.sha256(dataset.read(image_id)).hexdigest()
    except (*GONE, ImageUnreadable):
        return None
    except (OSError, StorageUnavailable):
        return unreadable
