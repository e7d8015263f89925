"""Compare the files of an answer directory with the shards of a request, one file after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from storage.answers.manifest import is_compacted, span_of
from storage.answers.reuse import FileRows
from storage.answers.schema import AnswerHeader, ShardAnswers, StoredShard
from storage.answers.shards import Shard, cut_shards, shard_digest
from storage.answers.store import AnswerDirectory
from storage.concurrency import map_ahead
from storage.datasets.records import splits_of
from teacher.engines.answer_mass import total_mass
from teacher.extraction.comparison import READERS, ImageComparison
from teacher.extraction.failures import is_teachers_fault

AHEAD = 2 * READERS  # files that are read before they are needed


class OtherSplits(Exception):
    """The directory has `splits` that were not selected."""

    def __init__(self, splits: Sequence[str]) -> None:
        super().__init__(splits)
        self.splits = splits


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """What is kept of a file that was read: the digests of its images and of itself, and the errors of images by id.

    `mass` is the sum of the probability of yes and no together over `answered` answers. `partial` files may lack
    answers. `answers` is None unless they are kept; those of partial ones always are.
    """

    digest: str
    rows: FileRows
    splits: tuple[str, ...]
    errors: Mapping[str, str]
    mass: float
    answered: int
    partial: bool
    answers: ShardAnswers | None

    @classmethod
    def of(cls, name: str, stored: StoredShard, *, keep_answers: bool = False) -> Self:
        answers = stored.answers
        failed = [(row, error) for row, error in enumerate(answers.errors) if error is not None]
        mass = total_mass(answers.yes, answers.no)
        return cls(
            digest=shard_digest(stored),
            rows=FileRows.of(name, answers.image_sha256, answers.errors),
            splits=tuple(splits_of(answers.records)),
            errors={answers.records[row].image_id: error for row, error in failed},
            mass=float(np.nansum(mass)),
            answered=int(np.isfinite(mass).sum()),
            partial=stored.header.partial,
            answers=answers if keep_answers or stored.header.partial else None,
        )


class StoreComparison:
    """The shards of a request, which of them are missing, and the files `stored`; see `ExtractionPlan`.

    `digests` are those of the manifest by file name.
    """

    def __init__(
        self,
        directory: AnswerDirectory,
        header: AnswerHeader,
        images: ImageComparison,
        shard_size: int,
        digests: Mapping[str, str],
        *,
        keep_answers: bool,
    ) -> None:
        self.stored: dict[str, StoredFile] = {}
        self.divided: dict[str, list[Shard]] = {}
        self._directory, self._header, self._images, self._digests = directory, header, images, digests
        self._keep_answers = keep_answers
        self._size = shard_size
        self._cut = cut_shards(images.records, shard_size)
        self._valid: dict[int, Shard] = {}  # by number of the first shard in the file
        self._covered = -1  # the last shard in a valid compacted file

    def compare(self, others: Sequence[str]) -> None:
        """Read every file. Raises OtherSplits if some have images of the splits `others`, VersionUnsupported and
        StorageUnavailable."""
        names = list(self._directory.seen or {})
        with ThreadPoolExecutor(READERS) as readers:
            for name, stored in map_ahead(readers, self._directory.load_if_whole, names, AHEAD):
                if stored is None:
                    continue
                if new := [split for split in splits_of(stored.answers.records) if split in others]:
                    raise OtherSplits(new)
                self.stored[name] = StoredFile.of(name, stored, keep_answers=self._keep_answers)
                self._compare(name, stored, readers)
        valid = {number for shard in self._valid.values() for number in range(shard.index, _last(shard) + 1)}
        self.divided = {
            name: [shard for shard in shards if shard.index not in valid] for name, shards in self.divided.items()
        }

    @property
    def shards(self) -> list[Shard]:
        found, number = list[Shard](), 0
        while number < len(self._cut):
            shard = self._valid.get(number, self._cut[number])
            found.append(shard)
            number = _last(shard) + 1
        return found

    @property
    def missing(self) -> list[Shard]:
        divided = {shard.index for shards in self.divided.values() for shard in shards}
        return [shard for shard in self.shards if shard.index not in self._valid and shard.index not in divided]

    def _compare(self, name: str, stored: StoredShard, readers: Executor) -> None:
        first, last = span_of(name)
        if first >= len(self._cut):
            return
        shard = self._cut[first] if not is_compacted(name) else self._compacted(first, last)
        if self._is_valid(shard, stored, self._digests.get(name), readers):
            self._keep(shard, stored)
        elif shard.last is not None:
            self._divide(name, shard, stored, readers)

    def _keep(self, shard: Shard, stored: StoredShard) -> None:
        """Keep a file, unless its first shard is in a compacted one, which is read before."""
        if shard.index <= self._covered:
            return
        if shard.last is not None:
            self._covered = shard.last
        self._valid[shard.index] = shard
        self._images.record(self._start(shard), stored.answers)

    def _divide(self, name: str, shard: Shard, stored: StoredShard, readers: Executor) -> None:
        """Keep those shards of a compacted file whose images are unchanged."""
        assert shard.last is not None
        kept = []
        for number in range(shard.index, min(shard.last, len(self._cut) - 1) + 1):
            part = rows_of(stored, number - shard.index, self._size)
            if self._is_valid(self._cut[number], part, None, readers):
                kept.append(self._cut[number])
                self._images.record(self._start(self._cut[number]), part.answers)
        self.divided[name] = kept

    def _compacted(self, first: int, last: int) -> Shard:
        start, stop = first * self._size, (last + 1) * self._size
        return Shard(first, self._images.records[start:stop], last)

    def _start(self, shard: Shard) -> int:
        return shard.index * self._size

    def _is_valid(self, shard: Shard, stored: StoredShard, digest: str | None, readers: Executor) -> bool:
        return (
            shard.is_in(stored, self._header, digest)
            and not any(error and is_teachers_fault(error) for error in stored.answers.errors)
            and self._images.is_same(self._start(shard), stored.answers, readers)
        )


def _last(shard: Shard) -> int:
    return shard.index if shard.last is None else shard.last


def rows_of(stored: StoredShard, number: int, size: int) -> StoredShard:
    """Return shard `number` of a compacted file, each of `size` rows."""
    rows, answers = slice(number * size, (number + 1) * size), stored.answers
    part = ShardAnswers(
        records=answers.records[rows],
        image_sha256=answers.image_sha256[rows],
        errors=answers.errors[rows],
        yes=answers.yes[rows],
        no=answers.no[rows],
    )
    return replace(stored, answers=part)
