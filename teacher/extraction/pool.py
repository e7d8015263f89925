"""The workers of a run: each asks about a share of the shards; one that dies is replaced."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from functools import partial
from typing import Protocol

from storage.errors import RunFailed
from teacher.engines.base import EngineUsage, TeacherDied, WorkerLost
from teacher.extraction.jobs import ShardJob, ShardSummary
from teacher.extraction.places import StartWorker, TeacherGivenUp, WorkerPlace
from teacher.extraction.worker import EngineLoaded, ImagesDone

MAX_DEATHS = 3  # of workers that had a shard, before it is left out
CHECK_SECONDS = 0.5  # between checks whether a pending worker has started
STOP_SECONDS = 1.5  # for workers to write what they have begun: a signal's end does not wait longer than 3.5 s


class ShardGivenUp(RunFailed):
    """Several workers died one after another while they had this shard; it is left out of the run."""


class PoolProgress(Protocol):
    """Progress reports of a pool, called from several threads."""

    def ready(self, slow_because: str | None) -> None:
        """An engine has loaded."""
        ...

    def advance(self, images: int, questions: int) -> None:
        """`images` and `questions` more were answered."""
        ...


class WorkerPool:
    """Asks about shards with several workers; one that dies is replaced when the next shard needs it.

    `ask` is called by one thread per active shard, and waits for a worker that is free. A shard of a worker that died
    has its next one to itself, so that further deaths are this shard's: after MAX_DEATHS it is given up. Once no worker
    can be started - the teacher is unusable, its engine failed to start several times, the pool is stopped - every call
    raises the same error at once.
    """

    def __init__(self, start: StartWorker, workers: int) -> None:
        self.closing = threading.Event()
        self.ready: list[float] = []  # monotonic start times of engines
        self._places = [WorkerPlace(partial(start, number, self.closing)) for number in range(workers)]
        self._changed = threading.Condition()  # places, and the counts below
        self._done: dict[str, int] = {}  # images of each shard reported as progress
        self._deaths = Counter[str]()  # of workers that had the shard

    def __len__(self) -> int:
        return len(self._places)

    @property
    def usages(self) -> list[EngineUsage]:
        """Return the usage of each engine started here, including dead ones."""
        return [usage for place in self._places for usage in place.usages]

    def ask(self, job: ShardJob, progress: PoolProgress) -> ShardSummary:
        """Have one of the workers ask about a shard and write it. Raises the same errors as `Worker.ask` except
        WorkerLost, and TeacherGivenUp and ShardGivenUp."""

        def on_report(report: EngineLoaded | ImagesDone) -> None:
            if isinstance(report, EngineLoaded):
                self.ready.append(time.monotonic())
                progress.ready(report.slow_because)
                return
            with self._changed:
                # A shard that is retried from its beginning counts once.
                new = report.count - self._done.get(job.path, 0)
                self._done[job.path] = max(report.count, self._done.get(job.path, 0))
            if new > 0:
                progress.advance(new, new * len(job.header.questions))

        while True:
            with self._place_for(job) as place:
                try:
                    done = place.ask(job, on_report, partial(self._count_death, job))
                except WorkerLost:
                    continue
                if done is not None:
                    with self._changed:
                        self._done.pop(job.path, None)  # a later round may ask more about it
                    return done

    def _count_death(self, job: ShardJob, error: TeacherDied) -> None:
        """Raises ShardGivenUp after too many."""
        with self._changed:
            self._deaths[job.path] += 1
            deaths = self._deaths[job.path]
        if deaths >= MAX_DEATHS:
            first, last = job.shard.records[0].image_id, job.shard.records[-1].image_id
            raise ShardGivenUp(
                f"shard {job.shard.index} (images {first} to {last}) is left out: {deaths} workers died while they had "
                f"it, the last one so: {error}; give the same command again to retry it"
            )

    def stop(self, *, write_begun: bool = True) -> None:
        """Give workers a short time to write unfinished shards, then end them. Nothing more is asked."""
        self.closing.set()
        for place in self._places:
            place.refuse(TeacherGivenUp("the run was stopped"))
        if write_begun:
            wait([stop for place in self._places if (stop := place.begin_stop()) is not None], timeout=STOP_SECONDS)
        for place in self._places:
            place.close()

    def close(self) -> None:
        """End all workers. Answers of unfinished shards are lost."""
        self.stop(write_begun=False)

    @contextmanager
    def _place_for(self, job: ShardJob) -> Iterator[WorkerPlace]:
        """Wait for a place that takes the shard: the one that began it, or else the one with the fewest shards; one
        that has given up only if all have."""
        with self._changed:
            while (place := self._choose(job.path)) is None:
                self._changed.wait(CHECK_SECONDS)
            place.users += 1
            place.begun.add(job.path)
        try:
            yield place
            place.begun.discard(job.path)
        finally:
            with self._changed:
                place.users -= 1
                if place.reserved == job.path:
                    place.reserved = None
                self._changed.notify_all()

    def _choose(self, path: str) -> WorkerPlace | None:
        places = [place for place in self._places if place.refusal is None]
        if not places:
            return self._places[0]
        alone = self._deaths[path] > 0
        free = [place for place in places if place.takes(path, alone=alone)]
        chosen = min(free, key=lambda place: (path not in place.begun, place.users), default=None)
        if alone:
            self._reserve(path, [chosen] if chosen else [place for place in places if not place.pending])
        return chosen

    def _reserve(self, path: str, places: list[WorkerPlace]) -> None:
        """Have one of `places` take no other shard, unless one of them does so already."""
        if any(place.reserved == path for place in places):
            return
        for place in self._places:
            place.reserved = None if place.reserved == path else place.reserved
        if unreserved := [place for place in places if place.reserved is None]:
            min(unreserved, key=lambda place: place.users).reserved = path
