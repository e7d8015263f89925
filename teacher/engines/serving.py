"""Run inside a model's process: load, then answer calls until the parent closes the pipe."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, NoReturn, Protocol

from storage.platform.allocator import keep_freed_memory
from storage.platform.processes import serve_parent
from teacher.engines.base import EngineUsage, LoadedModel
from teacher.engines.engine_log import LogWriter
from teacher.engines.packed_error import SENT, PackedError, pack
from teacher.engines.redaction import redact

LOADED = -1  # the number of a process's first message; its calls count from 0


@dataclass(frozen=True, slots=True)
class Call:
    """A call of `function(model, *arguments)` in one of the model's threads.

    With `reports` the function gets an additional argument, which sends a report to the parent. An `urgent` call does
    not wait for a busy thread, so it must be fast.
    """

    number: int
    function: Callable[..., Any]
    arguments: Sequence[Any]
    reports: bool = False
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """The progress of a running call."""

    number: int
    value: Any
    usage: EngineUsage


@dataclass(frozen=True, slots=True)
class Reply:
    """The value or error of a call: the last message about it."""

    number: int
    error: PackedError | None
    value: Any
    usage: EngineUsage


class Channel(Protocol):
    """The connection of a `ModelServer` to its caller."""

    def recv(self) -> Any:
        """Wait for the next `Call`. Raises EOFError or OSError when there will be no more."""
        ...

    def send(self, message: Report | Reply) -> None: ...


class ModelServer:
    """Runs the calls of another process in `calls_at_once` threads of this one."""

    def __init__(self, connection: Channel, secrets: Sequence[str]) -> None:
        self._connection = connection
        self._secrets = secrets
        self._sending = threading.Lock()

    def serve(self, load: Callable[[], LoadedModel]) -> None:
        """Load the model, say so and answer. Ends the process when the parent closes the pipe."""
        try:
            model = load()
        except SENT as error:
            self._send(Reply(LOADED, pack(error, self._secrets), None, EngineUsage()))
            return
        except BaseException:
            self._end_with_traceback()
        self._send(Reply(LOADED, None, (model.calls_at_once, model.slow_because), model.usage))
        with ThreadPoolExecutor(model.calls_at_once, "call") as callers:
            while True:
                try:
                    call: Call = self._connection.recv()
                except (EOFError, OSError):
                    # vLLM's own shutdown can hang on threads; the system frees everything at once.
                    os._exit(0)
                if call.urgent:
                    self._answer(model, call)
                else:
                    callers.submit(self._answer, model, call)

    def _answer(self, model: LoadedModel, call: Call) -> None:
        def report(value: Any) -> None:
            self._send(Report(call.number, value, model.usage))

        error = value = None
        try:
            value = call.function(model, *call.arguments, *([report] if call.reports else []))
        except SENT as refusal:
            error = pack(refusal, self._secrets)
        except BaseException:  # the model's state is unknown: let the parent start another process
            self._end_with_traceback()
        self._send(Reply(call.number, error, value, model.usage))

    def _send(self, message: Report | Reply) -> None:
        with self._sending:
            self._connection.send(message)

    def _end_with_traceback(self) -> NoReturn:
        self._end(redact(traceback.format_exc(), self._secrets))

    def _end(self, reason: str) -> NoReturn:
        print(reason, file=sys.stderr, flush=True)
        os._exit(1)


def serve(
    connection: Connection,
    parent: int,
    log: LogWriter,
    environment: Mapping[str, str],
    secrets: Sequence[str],
    load: Callable[[], LoadedModel],
) -> None:
    """What the process runs that `ModelProcess` starts."""
    serve_parent(parent)
    log.take_output()
    os.environ.update(environment)
    keep_freed_memory()
    ModelServer(connection, secrets).serve(load)
