"""A teacher engine in a process of its own: kept alive between shards, gone with all its memory when it is closed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from teacher.config import EngineOptions, ResolvedTeacher, TeacherInvalid
from teacher.engine import EngineName, TeacherEngine

LAST_WORDS = 3  # lines of a dead engine's log that go into the error


class TeacherDied(RuntimeError):
    """The engine's process ended by itself; a new one can be started and the shard asked again."""


class EngineProcess:
    """A `TeacherEngine` whose model lives in another process. Safe to use from several threads, one at a time.

    The process ends with its parent, even when that is killed. What the engine prints goes to `log`. Loading can take
    minutes: TeacherDied as soon as `cancelled` is set meanwhile.
    """

    def __init__(
        self,
        name: EngineName,
        teacher: ResolvedTeacher,
        options: EngineOptions,
        cancelled: threading.Event | None = None,
    ) -> None:
        # A fresh interpreter: a fork would inherit threads, and CUDA does not survive it.
        context = multiprocessing.get_context("spawn")
        handle, log = tempfile.mkstemp(prefix="aspects-teacher-", suffix=".log")
        os.close(handle)
        self.log = Path(log)
        self._turn = threading.Lock()
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, os.getpid(), log, name, teacher, options), name="aspects-teacher", daemon=False
        )
        self._process.start()
        theirs.close()
        try:
            while cancelled is not None and not self._connection.poll(0.2):
                if cancelled.is_set():
                    self._process.kill()
                    raise TeacherDied("teacher process was ended before it had loaded")
            self._receive()
        except BaseException:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def answer(
        self, images: Sequence[Image.Image], questions: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """As `TeacherEngine.answer`; also raises TeacherDied."""
        with self._turn:
            try:
                self._connection.send(([np.asarray(image) for image in images], list(questions)))
            except (BrokenPipeError, ConnectionResetError, OSError) as error:
                raise self._death() from error
            yes, no = self._receive()
        return yes, no

    def close(self) -> None:
        """End the process and wait until it is gone, and its GPU memory with it.

        A thread that is still waiting for an answer gets TeacherDied.
        """
        if not self._turn.acquire(blocking=False):
            # Closing a connection under the thread that reads from it would leave that thread waiting for ever.
            self._process.kill()
            self._turn.acquire()
        self._connection.close()
        self._turn.release()
        self._process.join(timeout=10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self.log.unlink(missing_ok=True)

    def _receive(self) -> Any:
        try:
            outcome, value = self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._death() from error
        if outcome == "raised":
            raise value
        return value

    def _death(self) -> TeacherDied:
        self._process.join(timeout=10)
        words = self.log.read_text(errors="replace").strip().splitlines()[-LAST_WORDS:] if self.log.exists() else []
        return TeacherDied(
            f"teacher process ended with code {self._process.exitcode}: {' | '.join(words) or 'no output'}"
        )


def load_engine(name: EngineName, teacher: ResolvedTeacher, options: EngineOptions) -> TeacherEngine:
    """Load a teacher in this process. Raises TeacherInvalid for a model that cannot be used."""
    if name == "vllm":
        from teacher.vllm_engine import VllmEngine

        return VllmEngine(teacher, options)
    if name == "transformers":
        from teacher.transformers_engine import TransformersEngine

        return TransformersEngine(teacher, options)
    raise TeacherInvalid(f"no engine '{name}'; choose vllm or transformers")


def _serve(
    connection: Connection, parent: int, log: str, name: EngineName, teacher: ResolvedTeacher, options: EngineOptions
) -> None:
    """The process's life: load, say so, then answer until the other end closes."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    # Ctrl-C reaches every process of the terminal; this one is ended by its parent.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    output = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(output, sys.stdout.fileno())
    os.dup2(output, sys.stderr.fileno())
    try:
        engine = load_engine(name, teacher, options)
    except ValueError as error:
        connection.send(("raised", error))
        return
    connection.send(("done", None))
    while True:
        try:
            pixels, questions = connection.recv()
        except EOFError:
            break
        try:
            connection.send(("done", engine.answer([Image.fromarray(array) for array in pixels], questions)))
        except ValueError as error:
            connection.send(("raised", error))
    # vLLM's own shutdown can hang on threads; the system frees everything at once.
    os._exit(0)


def _end_with(parent: int) -> None:
    """End this process once its parent is gone. A parent-death signal would follow the parent's thread instead."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
