"""Calls of a model that runs somewhere else, over any transport."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from teacher.engines.base import EngineUsage
from teacher.engines.serving import Call, Reply, Report

Result = TypeVar("Result")


class ModelCalls:
    """Sends calls to a `ModelServer` and passes its replies to the waiting threads. Thread-safe.

    A subclass implements `_transmit` and `_failure`, passes every arriving message to `_deliver`, and calls `_end` when
    no more will arrive. `usage` is that of the last message.
    """

    def __init__(self) -> None:
        self.usage = EngineUsage()
        self._sending = threading.Lock()
        self._waiting: dict[int, Future[Any]] = {}
        self._on_report: dict[int, Callable[[Any], None]] = {}
        self._ended: Exception | None = None
        self._numbers = itertools.count()

    def call(
        self, function: Callable[..., Result], *arguments: Any, on_report: Callable[[Any], None] | None = None
    ) -> Result:
        """Return or raise the result of `function(model, *arguments)` beside the model; the function is imported by
        name.

        With `on_report` the function gets an additional argument, a callable; its values are passed to `on_report`
        here, in another thread. Also raises TeacherDied and TeacherUnreachable.
        """
        return self._send(function, arguments, on_report, urgent=False).result()

    def call_urgently(self, function: Callable[..., Result], *arguments: Any) -> Future[Result]:
        """Like `call`, for a fast function: it does not wait for calls that are running."""
        return self._send(function, arguments, None, urgent=True)

    def _transmit(self, call: Call) -> None:
        """Send a call. Raises OSError if the connection is closed."""
        raise NotImplementedError

    def _failure(self) -> Exception:
        """Return the error to raise for calls that get no reply."""
        raise NotImplementedError

    def _send(
        self,
        function: Callable[..., Result],
        arguments: Sequence[Any],
        on_report: Callable[[Any], None] | None,
        *,
        urgent: bool,
    ) -> Future[Result]:
        called: Future[Result] = Future()
        with self._sending:
            # A child of the process may keep the pipe open: sending would succeed, and no answer would ever arrive.
            if self._ended is not None:
                raise self._ended
            number = next(self._numbers)
            self._waiting[number] = called
            if on_report is not None:
                self._on_report[number] = on_report
            try:
                self._transmit(Call(number, function, arguments, on_report is not None, urgent))
            except OSError as error:
                del self._waiting[number]
                self._on_report.pop(number, None)
                raise self._failure() from error
        return called

    def _deliver(self, message: Report | Reply) -> None:
        self.usage = message.usage
        if isinstance(message, Report):
            self._on_report[message.number](message.value)
            return
        self._on_report.pop(message.number, None)
        waiting = self._waiting.pop(message.number)
        if message.error is not None:
            waiting.set_exception(message.error.unpack())
        else:
            waiting.set_result(message.value)

    def _end(self, failure: Exception) -> None:
        """Raise `failure` in all waiting threads, and at every later call."""
        with self._sending:
            self._ended = failure
            for waiting in self._waiting.values():
                waiting.set_exception(failure)
            self._waiting.clear()
