"""A worker: an engine, and everything that is done with its shards, in the process that the engine lives in.

Nothing here knows what runs it: a process of this machine (`processes.py`), an actor of a cluster, a test's own thread.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from PIL import Image

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
    """So many of the shard's first images are done."""

    count: int


ReportProgress = Callable[[EngineLoaded | ImagesDone], None]


class EngineFailed(Exception):
    """An engine raised an error that is not in its contract: it is in an unknown state."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class ShardWorker:
    """Asks about shards, SHARDS_AT_ONCE of them at a time. Follows `LoadedModel`.

    The engine is loaded when the first answer is missing: shards whose answers are all known need none. Rows of a shard
    that failed are kept, so that the next attempt goes on from them.
    """

    calls_at_once = SHARDS_AT_ONCE
    slow_because: str | None = None

    def __init__(self, load: Callable[[], TeacherEngine], teacher: ResolvedTeacher, readers: int) -> None:
        """`readers` threads read and decode images."""
        self._load = load
        self.known = NOTHING_KNOWN  # for jobs that come without it
        self._teacher = teacher
        self._readers = ThreadPoolExecutor(readers, "read")
        self._loading = threading.Lock()
        self._engine: TeacherEngine | None = None
        self._refusal: Exception | None = None  # why there will be no engine
        self._begun: dict[str, tuple[ShardJob, ShardRows]] = {}
        self._stopped = threading.Event()

    @property
    def usage(self) -> EngineUsage:
        return self._engine.usage if self._engine else EngineUsage()

    def ask(self, job: ShardJob, report: ReportProgress) -> ShardSummary:
        """Ask about a shard and write it. Raises as `ask_shard`, and WorkerFailed for a defect of this program; what an
        engine raises that is not in its contract is raised as it is, once everything begun has been written."""

        def ask(images: Sequence[Image.Image], questions: Sequence[str]) -> tuple[Answers, Answers]:
            engine = self._loaded(report)
            if self._stopped.is_set():
                raise AskingStopped("the run was stopped")
            return _guarded(lambda: self._askers.submit(engine.answer, images, questions).result())

        _, rows = self._begun.setdefault(job.path, (job, ShardRows(job.shard, job.header.questions)))
        try:
            done = ask_shard(
                job, self._teacher, ask, self._readers, rows, lambda n: report(ImagesDone(n)), self._stopped
            )
        except EngineFailed as failure:
            self.stop()
            raise failure.error from None
        except AspectsError:
            raise
        except Exception as error:  # of our own code: the engine is well, and another start would not mend it
            raise WorkerFailed(f"a worker failed:\n{traceback.format_exc()}") from error
        del self._begun[job.path]
        return done

    def stop(self) -> None:
        """Write what has been answered of shards that are not finished, and ask nothing more. Does not wait for the
        engine."""
        self._stopped.set()
        for job, rows in list(self._begun.values()):
            write_begun(job, rows)

    def close(self) -> None:
        self._stopped.set()
        if self._engine is not None:
            self._engine.close()

    def _loaded(self, report: ReportProgress) -> TeacherEngine:
        """The engine. Raises what loading it does; an engine that cannot be used is not loaded again."""
        with self._loading:
            if self._refusal is not None:
                raise self._refusal
            if self._engine is None:
                try:
                    engine = _guarded(self._load)
                except (TeacherInvalid, TeacherPaused) as refusal:
                    self._refusal = refusal
                    raise
                # Always the same threads: each that calls torch has CPU threads of its own, which would fight.
                self._askers = ThreadPoolExecutor(engine.calls_at_once, "ask")
                self._engine = engine
                report(EngineLoaded(engine.slow_because))
            return self._engine


def _guarded(call: Callable[[], Result]) -> Result:
    """What a call of an engine returns. Raises its errors, EngineFailed for those that are not in its contract."""
    try:
        return call()
    except (AspectsError, ImageRefused):
        raise
    except ValueError as error:
        raise unusable_teacher(error) from error
    except Exception as error:  # the engine's own libraries raise anything
        raise EngineFailed(error) from error
