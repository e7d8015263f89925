"""A worker: an engine and the processing of its shards, in one process.

It is independent of its environment: a process of this machine (`processes.py`), an actor of a cluster, or a thread of
a test.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from storage.answers.reuse import KnownAnswers
from storage.errors import AspectsError
from teacher.engines.base import EngineUsage, ImageRefused, TeacherEngine, TeacherPaused
from teacher.engines.config import ResolvedTeacher, TeacherInvalid
from teacher.engines.packed_error import WorkerFailed, unusable_teacher
from teacher.extraction.extract import AskingStopped, ask_shard, write_begun
from teacher.extraction.jobs import ShardJob, ShardSummary
from teacher.extraction.rows import Answers, ShardRows

# One shard's images are read, decoded and rendered while the model is busy with the other's.
SHARDS_AT_ONCE = 2
NOTHING_KNOWN = KnownAnswers()
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class EngineLoaded:
    """The worker's engine is ready. `slow_because` as in `LoadedModel`."""

    slow_because: str | None


@dataclass(frozen=True, slots=True)
class ImagesDone:
    """The first `count` images of the shard are done."""

    count: int


ReportProgress = Callable[[EngineLoaded | ImagesDone], None]


class EngineFailed(Exception):
    """An engine raised an error outside its contract: its state is unknown."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class ShardWorker:
    """Asks about shards, SHARDS_AT_ONCE of them at a time. Follows `LoadedModel`.

    The engine is loaded when the first answer is missing: shards whose answers are all known need none. Rows of a
    failed shard are kept, so that the next attempt continues from them.
    """

    calls_at_once = SHARDS_AT_ONCE
    slow_because: str | None = None

    def __init__(self, load: Callable[[], TeacherEngine], teacher: ResolvedTeacher, readers: int) -> None:
        """`readers` threads read and decode images."""
        self._load = load
        self.known = NOTHING_KNOWN  # for jobs without their own
        self._teacher = teacher
        self._readers = ThreadPoolExecutor(readers, "read")
        self._loading = threading.Lock()
        self._engine: TeacherEngine | None = None
        self._refusal: Exception | None = None  # why the engine cannot be loaded
        self._begun: dict[str, tuple[ShardJob, ShardRows]] = {}
        self._stopped = threading.Event()

    @property
    def usage(self) -> EngineUsage:
        return self._engine.usage if self._engine else EngineUsage()

    def ask(self, job: ShardJob, report: ReportProgress) -> ShardSummary:
        """Ask about a shard and write it.

        Raises the same errors as `ask_shard`, and WorkerFailed for a defect of this program. An error outside the
        engine's contract is raised unchanged, after all unfinished shards have been written.
        """

        def ask(images: Sequence[Any], questions: Sequence[Any]) -> tuple[Answers, Answers]:
            engine = self._loaded(report)
            if self._stopped.is_set():
                raise AskingStopped("the run was stopped")
            return _guarded(lambda: self._askers.submit(engine.answer, images, questions).result())

        begun = ShardRows(job.shard, job.header.questions, job.wanted, job.before)
        _, rows = self._begun.setdefault(job.path, (job, begun))
        try:
            done = ask_shard(
                job, self._teacher, ask, self._readers, rows, lambda n: report(ImagesDone(n)), self._stopped
            )
        except EngineFailed as failure:
            self.stop()
            raise failure.error from None
        except AspectsError:
            raise
        except Exception as error:  # in our own code: the engine is fine, and a restart would not help
            raise WorkerFailed(f"a worker failed:\n{traceback.format_exc()}") from error
        del self._begun[job.path]
        return done

    def stop(self) -> None:
        """Write the answers of unfinished shards, and ask nothing more. Does not wait for the engine."""
        self._stopped.set()
        for job, rows in list(self._begun.values()):
            write_begun(job, rows)

    def close(self) -> None:
        self._stopped.set()
        if self._engine is not None:
            self._engine.close()

    def _loaded(self, report: ReportProgress) -> TeacherEngine:
        """Return the engine, loaded at the first call.

        Raises the errors of loading; a teacher that cannot be used is not loaded again.
        """
        with self._loading:
            if self._refusal is not None:
                raise self._refusal
            if self._engine is None:
                try:
                    engine = _guarded(self._load)
                except (TeacherInvalid, TeacherPaused) as refusal:
                    self._refusal = refusal
                    raise
                # Fixed threads: each thread that calls torch has its own CPU threads, which would compete.
                self._askers = ThreadPoolExecutor(engine.calls_at_once, "ask")
                self._engine = engine
                report(EngineLoaded(engine.slow_because))
            return self._engine


def _guarded(call: Callable[[], Result]) -> Result:
    """Call an engine. Raises its errors, and EngineFailed for those outside its contract."""
    try:
        return call()
    except (AspectsError, ImageRefused):
        raise
    except ValueError as error:
        raise unusable_teacher(error) from error
    except Exception as error:  # the engine's libraries raise errors of any type
        raise EngineFailed(error) from error
