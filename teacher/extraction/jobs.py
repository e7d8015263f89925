"""The jobs of workers, and their results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from storage.answers.reuse import KnownAnswers
from storage.answers.schema import AnswerHeader, ShardAnswers
from storage.answers.shards import Shard
from storage.answers.store import AnswerDirectory
from storage.datasets.base import ImageDataset
from teacher.extraction.plan import ExtractionPlan


@dataclass(frozen=True, kw_only=True)
class ShardJob:
    """Everything needed to ask about one shard and to write it, in any process.

    `dataset` has the shard's images only, and reads them. `known` is the same for all jobs of a run. Only the `wanted`
    pairs are asked, bool [I, Q], by default all. `before` are the rows of the stored shard if its images are unchanged.
    """

    shard: Shard
    header: AnswerHeader
    directory: AnswerDirectory
    dataset: ImageDataset = field(repr=False)
    known: KnownAnswers = field(repr=False)
    wanted: NDArray[np.bool_] | None = field(default=None, repr=False)
    before: ShardAnswers | None = field(default=None, repr=False)

    @property
    def path(self) -> str:
        """The path of the shard's file."""
        return f"{self.directory.path}/{self.shard.file_name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSummary:
    """The result of one shard: numbers of images, of images that could not be asked about, of answers asked and reused.

    `images_asked` counts those for which the teacher was asked anything. Seconds of decoding are summed over threads.
    """

    index: int
    images: int
    images_asked: int
    errors: int
    asked: int
    reused: int
    decode_seconds: float
    write_seconds: float


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """A plan and its dataset."""

    plan: ExtractionPlan
    dataset: ImageDataset

    def job(self, shard: Shard, known: KnownAnswers) -> ShardJob:
        """Return the job of one of the plan's shards."""
        plan, directory = self.plan, self.plan.directory
        if directory.seen is not None:
            seen = directory.seen.get(shard.file_name)
            directory = replace(directory, seen={} if seen is None else {shard.file_name: seen})
        return ShardJob(
            shard=replace(shard, records=tuple(shard.records)),
            header=plan.header,
            directory=directory,
            dataset=self.dataset.subset(shard.records),
            known=known,
            wanted=None if plan.wanted is None else plan.wanted(shard),
            before=plan.before(shard),
        )

    def jobs(self, known: KnownAnswers) -> Sequence[ShardJob]:
        """Return the jobs of all missing shards."""
        return [self.job(shard, known) for shard in self.plan.missing]
