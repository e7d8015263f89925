"""The progress of an extraction, from the modification times of its shards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from storage.answers.columns import shard_source
from storage.answers.damage import AnswersDamaged
from storage.answers.manifest import span_of
from storage.answers.schema import StoredShard
from storage.answers.store import AnswerDirectory

RECENT = 10  # shards that the rate is measured on


@dataclass(frozen=True, kw_only=True)
class ExtractionProgress:
    """Numbers of written `shards`, of `images` in them, and of images `expected` in total, None if unknown.

    `rate` is in images per second over the last RECENT shards, None for a single one. `written` is the time of the
    newest shard in seconds since the epoch, and `newest` that shard itself, None if it cannot be read.
    """

    shards: int
    images: int
    expected: int | None
    rate: float | None
    written: float
    newest: StoredShard | None

    @property
    def seconds_left(self) -> float | None:
        if self.expected is None or not self.rate:
            return None
        return max(0, self.expected - self.images) / self.rate


class ShardSplits:
    """The splits of the images in the shards of incomplete directories. Each shard is read once."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[dict[str, object], dict[str, None]]] = {}

    def of(self, directory: AnswerDirectory) -> tuple[str, ...]:
        """Return the splits in the order of the shards; those of damaged shards are left out. Raises
        StorageUnavailable."""
        stamps: dict[str, object] = dict(directory.stamps())
        seen, splits = self._seen.get(directory.path, ({}, {}))
        if not seen.items() <= stamps.items():  # shards were deleted or replaced
            seen, splits = {}, {}
        new = [name for name in stamps if name not in seen]
        found = splits | dict.fromkeys(_splits(directory, new))
        self._seen[directory.path] = stamps, found
        return tuple(found)


def _splits(directory: AnswerDirectory, names: Sequence[str]) -> list[str]:
    """Return the splits of some shards."""
    try:
        sources = [shard_source(directory, name) for name in names]
        scans = [pl.scan_parquet(source, hive_partitioning=False).select("split") for source in sources]
        return pl.concat(scans).unique(maintain_order=True).collect()["split"].to_list() if scans else []
    except (AnswersDamaged, pl.exceptions.PolarsError):
        return [] if len(names) == 1 else [split for name in names for split in _splits(directory, [name])]


def measure_progress(directory: AnswerDirectory, shard_size: int, expected: int | None) -> ExtractionProgress | None:
    """Return the progress of a directory whose shards, except the last, have `shard_size` images; None without shards.

    Raises VersionUnsupported and StorageUnavailable.
    """
    times = sorted((mtime_ns or 0, name) for name, (_, mtime_ns) in directory.stamps().items())
    if not times:
        return None
    recent = times[-RECENT:]
    seconds = (recent[-1][0] - recent[0][0]) / 1e9
    spans = [span_of(name) for _, name in times]
    images = shard_size * sum(last - first + 1 for first, last in spans)
    return ExtractionProgress(
        shards=len(times),
        images=images if expected is None else min(images, expected),
        expected=expected,
        rate=(len(recent) - 1) * shard_size / seconds if len(recent) > 1 and seconds > 0 else None,
        written=recent[-1][0] / 1e9,
        newest=_read(directory, times[-1][1]),
    )


def _read(directory: AnswerDirectory, name: str) -> StoredShard | None:
    try:
        return directory.load_shard(name)
    except (FileNotFoundError, AnswersDamaged):  # replaced or deleted meanwhile
        return None
