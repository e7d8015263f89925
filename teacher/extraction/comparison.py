"""Find images that have changed since the store's answers were given, with as few reads as possible."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from concurrent.futures import Executor

import numpy as np

from storage.answers.digests import NO_DIGEST, Bools, Digests
from storage.answers.image_stamps import ImageStamps, Stamps, is_settled, look_at
from storage.answers.reuse import KnownAnswers
from storage.answers.schema import ShardAnswers
from storage.datasets.base import ImageDataset, ImageRecord
from storage.errors import StorageUnavailable
from storage.images.decode import ImageUnreadable
from teacher.extraction.failures import is_for_now

READERS = 4  # threads that read and decode
GONE = (FileNotFoundError, NotADirectoryError)  # other errors do not show whether it exists
UNREADABLE = "unreadable"  # placeholder digest of an image that cannot be read now


class ImageComparison:
    """The current state of a plan's images, by their position in `records`: about 100 bytes an image.

    An image is not read if its stamp is the recorded one, unless `verify`; otherwise it is read once. `recorded` is
    changed by `record` to what the next run should find.
    """

    def __init__(
        self, dataset: ImageDataset, records: Sequence[ImageRecord], recorded: ImageStamps, *, verify: bool = False
    ) -> None:
        self.dataset = dataset
        self.records = records
        self.recorded = recorded
        self.has_changed = recorded.others > 0  # whether `recorded` differs from what was read
        self._verify = verify
        # Before any image is read, so that a later change of a file shows in its stamp.
        self._looked_at_ns = time.time_ns()
        self._stamps = Stamps.empty(len(records), recorded.stamps.views)
        look_at(dataset, records, self._stamps)
        self._found = Digests.empty(len(records))
        self._unreadable: set[int] = set()

    def is_same(self, start: int, answers: ShardAnswers, readers: Executor) -> bool:
        """Return whether all images of a shard, whose first one is at `start`, are unchanged.

        One that cannot be read now counts as unchanged, so that it keeps its answers, and so does one that has not been
        read, because none of its pairs was asked.
        """
        rows = slice(start, start + len(answers.records))
        unchanged = self._is_recorded(rows, Digests.of(answers.image_sha256)) & ~_for_now(answers)
        if self._verify:
            unchanged[:] = False
        doubtful = np.flatnonzero(~unchanged & ~_not_read(answers)).tolist()
        found = list(readers.map(self._read, [start + row for row in doubtful]))
        return all(now in (answers.image_sha256[row], UNREADABLE) for now, row in zip(found, doubtful, strict=True))

    def digest(self, position: int) -> str | None:
        """Return the SHA-256 of the image; None if it no longer exists or cannot be shown; UNREADABLE if it cannot be
        read now."""
        place = slice(position, position + 1)
        trusted = not self._verify and self._stamps.part(place).equal(self.recorded.stamps.part(place))[0]
        if trusted and not self._was_read(position) and self.recorded.digests.state[position] != NO_DIGEST:
            return self.recorded.digests.text(position)
        return self._read(position)

    def record(self, start: int, answers: ShardAnswers, known: KnownAnswers | None = None) -> None:
        """Record the stamps of a finished shard's images whose digest is newer than their stamp.

        `known` has the answers from before the run, if this run has asked about the shard.
        """
        rows = slice(start, start + len(answers.records))
        digests, stamps, recorded = Digests.of(answers.image_sha256), self._stamps.part(rows), self.recorded.part(rows)
        allowed = (stamps.view > 0) & ~_for_now(answers) & ~_not_read(answers)
        same = allowed & self._is_recorded(rows, digests)
        settled = allowed & ~same & is_settled(stamps.mtime_ns, self._looked_at_ns)
        # Was the digest computed after the stamp was read: by this comparison, or by a worker?
        new = settled & self._found.part(rows).equal(digests)
        if known is not None:
            for row in np.flatnonzero(settled & ~new):
                # An image that could not be read when it was asked about keeps its previous digest.
                new[row] = known.digest_of(answers.records[row]) != answers.image_sha256[row]
        kept = same | new
        self.has_changed |= bool((kept != (recorded.stamps.view > 0)).any() or new.any())
        recorded.stamps.size[:], recorded.stamps.mtime_ns[:] = stamps.size, stamps.mtime_ns
        recorded.stamps.view[:] = np.where(kept, stamps.view, 0)
        recorded.digests.bytes[:], recorded.digests.state[:] = digests.bytes, digests.state

    def _is_recorded(self, rows: slice, digests: Digests) -> Bools:
        recorded = self.recorded.part(rows)
        return self._stamps.part(rows).equal(recorded.stamps) & digests.equal(recorded.digests)

    def _was_read(self, position: int) -> bool:
        return position in self._unreadable or bool(self._found.state[position] != NO_DIGEST)

    def _read(self, position: int) -> str | None:
        if not self._was_read(position):
            digest = digest_of(self.dataset, self.records[position].image_id, UNREADABLE)
            if digest == UNREADABLE:
                self._unreadable.add(position)
            else:
                self._found.put(position, digest)
        return UNREADABLE if position in self._unreadable else self._found.text(position)


def _not_read(answers: ShardAnswers) -> Bools:
    pairs = zip(answers.image_sha256, answers.errors, strict=True)
    return np.array([digest is None and error is None for digest, error in pairs], bool)


def _for_now(answers: ShardAnswers) -> Bools:
    return np.array([error is not None and is_for_now(error) for error in answers.errors], bool)


def digest_of(dataset: ImageDataset, image_id: str, unreadable: str | None = None) -> str | None:
    """Return the SHA-256 of the image's file; None if it no longer exists or is a box that cannot be shown;
    `unreadable` if it cannot be read right now."""
    try:
        return hashlib.sha256(dataset.read(image_id)).hexdigest()
    except (*GONE, ImageUnreadable):
        return None
    except (OSError, StorageUnavailable):
        return unreadable
