"""Shards: consecutive images that are asked about and written together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from storage.answers.integrity import shard_digests, summary
from storage.answers.manifest import shard_name
from storage.answers.schema import AnswerHeader, StoredShard
from storage.datasets.base import ImageRecord
from storage.datasets.records import ImageRecords, are_equal


@dataclass(frozen=True, slots=True)
class Shard:
    """Consecutive images of the dataset's order that are asked about and written together.

    A compacted file is several of them: numbers `index` to `last`.
    """

    index: int
    records: Sequence[ImageRecord]
    last: int | None = None

    @property
    def file_name(self) -> str:
        return shard_name(self.index, self.last)

    def is_in(self, stored: StoredShard, header: AnswerHeader, digest: str | None = None) -> bool:
        """Return whether `stored` has `header`'s dataset and fingerprints and exactly these images, in order.

        `digest` is the one in the manifest, compared for a shard without digests of its own.
        """
        return (
            stored.header.teacher_fingerprint == header.teacher_fingerprint
            and stored.header.questions.fingerprint == header.questions.fingerprint
            and stored.header.dataset == header.dataset
            and are_equal(stored.answers.records, self.records)
            and (stored.digests is not None or digest in (None, shard_digest(stored)))
        )


def cut_shards(records: Sequence[ImageRecord], size: int) -> list[Shard]:
    """Cut `records` into shards of `size`, in order: the cut depends on the dataset alone, never on workers."""
    if size < 1:
        raise ValueError(f"shard size is {size}; it must be at least 1")
    starts = range(0, len(records), size)
    return [Shard(number, _part(records, start, start + size)) for number, start in enumerate(starts)]


def _part(records: Sequence[ImageRecord], start: int, stop: int) -> Sequence[ImageRecord]:
    part = records[start:stop]
    return part if isinstance(part, ImageRecords) else tuple(part)


def shard_digest(stored: StoredShard) -> str:
    """Return 16 hex digits of everything in a shard that was read completely."""
    return summary(stored.digests or shard_digests(stored.header, stored.answers))
