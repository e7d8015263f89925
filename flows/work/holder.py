"""The engines that a run keeps alive between its shards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Protocol

from storage.errors import RunFailed
from teacher.engines.base import EngineUsage, TeacherEngine, TeacherPaused, TeacherUnreachable
from teacher.engines.process import TeacherDied

STARTS = 3  # in a row that may fail before nobody tries again


class TeacherGivenUp(RunFailed):
    """No engine is started any more; trying again is of no use."""


class LivingEngine(TeacherEngine, Protocol):
    """An engine in a process of its own, which may have died."""

    @property
    def alive(self) -> bool: ...


class EngineHolder:
    """Starts an engine when the first answer is needed, and a new one where the last has died.

    Used by several threads. Once the engine cannot be had - the model is unusable, it failed to start several times,
    or the holder is closed - every later call raises the same error at once, instead of loading for nothing again.
    """

    def __init__(self, start: Callable[[threading.Event], LivingEngine]) -> None:
        """`start` loads an engine; the event that it is given says when to stop loading."""
        self._start = start
        self._closing = threading.Event()
        self._turn = threading.Lock()
        self._engine: LivingEngine | None = None
        self._failed_starts = 0
        self._engines: list[LivingEngine] = []
        self.refusal: Exception | None = None

    @property
    def usages(self) -> list[EngineUsage]:
        """What each engine has done that was started here, dead ones included."""
        return [engine.usage for engine in self._engines]

    def engine(self) -> LivingEngine:
        """A living engine. Raises TeacherInvalid, TeacherDied, TeacherUnreachable or TeacherGivenUp."""
        with self._turn:
            if self._engine is not None and not self._engine.alive:
                self._engine.close()
                self._engine = None
            if self._engine is None:
                if self.refusal is not None:
                    raise self.refusal
                self._engine = self._new_engine()
            return self._engine

    def _new_engine(self) -> LivingEngine:
        try:
            engine = self._start(self._closing)
        except (ValueError, TeacherPaused) as error:
            self.refusal = error
            raise
        except (TeacherDied, TeacherUnreachable) as error:
            self._failed_starts += 1
            if self._failed_starts >= STARTS:
                self.refusal = self.refusal or TeacherGivenUp(f"{error} (after {STARTS} starts)")
            if self.refusal is None:
                raise
            raise self.refusal from error
        self._failed_starts = 0
        self._engines.append(engine)
        return engine

    def close(self) -> None:
        """End the engine for good; who still waits for an answer gets TeacherDied."""
        # Set before the turn is taken: a thread whose engine is ended here must not start another.
        self.refusal = self.refusal or TeacherGivenUp("the run is over; no engine is started any more")
        self._closing.set()
        with self._turn:
            if self._engine is not None:
                self._engine.close()
                self._engine = None


class EnginePool:
    """Several engines, one for each worker. A shard gets the one that the fewest shards use at the moment."""

    def __init__(self, start: Callable[[int, threading.Event], LivingEngine], workers: int) -> None:
        """`start` loads worker number 0, 1, ...; the event says when to stop loading."""
        self._holders = [EngineHolder(partial(start, worker)) for worker in range(workers)]
        self._users = [0] * workers
        self._turn = threading.Lock()

    def __len__(self) -> int:
        return len(self._holders)

    @property
    def usages(self) -> list[EngineUsage]:
        return [usage for holder in self._holders for usage in holder.usages]

    @contextmanager
    def lease(self) -> Iterator[EngineHolder]:
        """A holder for the time of one shard. One that has given up is only handed out where all have."""
        with self._turn:
            working = [worker for worker, holder in enumerate(self._holders) if holder.refusal is None]
            chosen = min(working or range(len(self._holders)), key=lambda worker: self._users[worker])
            self._users[chosen] += 1
        try:
            yield self._holders[chosen]
        finally:
            with self._turn:
                self._users[chosen] -= 1

    def close(self) -> None:
        """End all engines for good; who still waits for an answer gets TeacherDied."""
        for holder in self._holders:
            holder.close()
