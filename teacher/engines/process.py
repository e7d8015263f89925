"""Run a model in a separate process, which is kept alive between calls and frees all memory when closed."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import wait
from types import ModuleType
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from storage.platform.processes import without_signals
from teacher.engines.base import LoadedModel, TeacherDied, TeacherEngine
from teacher.engines.calls import ModelCalls
from teacher.engines.classes import ClassEngine
from teacher.engines.config import ResolvedTeacher
from teacher.engines.engine_log import EngineLog, remove_old_logs
from teacher.engines.options import EngineOptions
from teacher.engines.registry import find_engine
from teacher.engines.serving import LOADED, Call, Reply, Report, serve
from teacher.engines.writer import Writer, WritingRequest, WrittenReply

_starting = threading.Lock()


class ModelProcess(ModelCalls):
    """A model in another process, where `load` creates it. Thread-safe.

    The process ends with its parent, even if that is killed. If it dies, the error includes the last lines that it
    printed. `environment` is set before anything is imported, e.g. to select a GPU or cores. Loading can take minutes:
    TeacherDied is raised as soon as `cancelled` is set. `secrets` are removed from messages.
    """

    def __init__(
        self,
        load: Callable[[], LoadedModel],
        cancelled: threading.Event | None = None,
        environment: Mapping[str, str] | None = None,
        secrets: Sequence[str] = (),
    ) -> None:
        super().__init__()
        # A fresh interpreter: a fork would inherit threads, and CUDA does not survive it.
        context = multiprocessing.get_context("spawn")
        remove_old_logs()
        self._log = EngineLog()
        self._secrets = secrets
        self.calls_at_once = 1
        self.slow_because: str | None = None
        self._joining = threading.Lock()  # called by two threads at once, one of them gets no exit code
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=serve,
            args=(theirs, os.getpid(), self._log, dict(environment or {}), tuple(secrets), load),
            name="aspects-teacher",
            daemon=False,
        )
        with _without_main(), without_signals():
            self._process.start()
        theirs.close()
        self._receiver = threading.Thread(target=self._receive, daemon=True)
        loaded: Future[tuple[int, str | None]] = Future()
        self._waiting[LOADED] = loaded
        self._receiver.start()
        try:
            while cancelled is not None and not loaded.done():
                if cancelled.wait(0.2):
                    raise TeacherDied("teacher process was ended before it had loaded")
            self.calls_at_once, self.slow_because = loaded.result()
        except BaseException:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def _transmit(self, call: Call) -> None:
        self._connection.send(call)

    def close(self) -> None:
        """End the process and wait until it has freed its GPU memory.

        Threads that still wait for an answer get TeacherDied.
        """
        self._process.kill()
        with self._joining:
            self._process.join()
        self._receiver.join()
        self._connection.close()

    def _receive(self) -> None:
        """Pass replies to the waiting threads until the process ends."""
        while self._connection in wait([self._connection, self._process.sentinel]):
            try:
                message: Report | Reply = self._connection.recv()
            except (EOFError, OSError):
                break
            self._deliver(message)
        self._end(self._failure())

    def _failure(self) -> TeacherDied:
        with self._joining:
            self._process.join(timeout=10)
        words = self._log.last_words(self._secrets) or "no output"
        return TeacherDied(f"teacher process ended with code {self._process.exitcode}: {words}")


class EngineProcess(ModelProcess):
    """A `TeacherEngine` in a separate process."""

    def __init__(
        self,
        name: str,
        teacher: ResolvedTeacher,
        options: EngineOptions,
        cancelled: threading.Event | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(partial(load_engine, name, teacher, options), cancelled, environment, secrets_of(options))

    def answer(
        self, images: Sequence[Image.Image], questions: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Like `TeacherEngine.answer`; also raises TeacherDied and TeacherUnreachable."""
        return self.call(_answer, [np.asarray(image) for image in images], list(questions))


class WriterProcess(ModelProcess):
    """A `Writer` in a separate process."""

    def __init__(
        self,
        name: str,
        teacher: ResolvedTeacher,
        options: EngineOptions,
        images: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        load = partial(load_writer, name, teacher, options, images)
        super().__init__(load, environment=environment, secrets=secrets_of(options))

    def write(self, request: WritingRequest) -> WrittenReply:
        """Like `Writer.write`; also raises TeacherDied."""
        return self.call(_write, request)


@contextmanager
def _without_main() -> Iterator[None]:
    """Do not import the program's main module in child processes: their functions are in modules of their own, and its
    imports would take seconds and print to the terminal."""
    with _starting:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def secrets_of(options: EngineOptions) -> list[str]:
    """Return the strings to hide in messages: the server's key."""
    key = os.environ.get(options.api_key_variable, "").strip()
    return [key] if key else []


def load_engine(name: str, teacher: ResolvedTeacher, options: EngineOptions) -> TeacherEngine:
    """Load a teacher in this process, for images or for classes.

    Raises TeacherInvalid if it cannot be used, TeacherUnreachable if its server is out of reach.
    """
    engine = find_engine(name)
    if teacher.config.about == "classes":
        return cast(TeacherEngine, ClassEngine(engine.load_text_model(teacher, options), teacher, options))
    return engine.load(teacher, options)


def load_writer(name: str, teacher: ResolvedTeacher, options: EngineOptions, images: int) -> Writer:
    """Load a writing model in this process. Raises TeacherInvalid if it cannot be used."""
    return find_engine(name).load_writer(teacher, options, images)


def _answer(
    engine: TeacherEngine, pixels: Sequence[NDArray[np.uint8]], questions: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return engine.answer([Image.fromarray(array) for array in pixels], questions)


def _write(writer: Writer, request: WritingRequest) -> WrittenReply:
    return writer.write(request)
