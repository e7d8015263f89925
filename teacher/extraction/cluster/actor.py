"""What an actor of a Ray cluster runs: a `ModelServer` whose messages go through the actor's methods."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from storage.platform.allocator import keep_freed_memory
from teacher.engines.base import LoadedModel
from teacher.engines.serving import Call, ModelServer, Reply, Report
from teacher.extraction.cluster.nodes import NodeNeeds, find_problem

METHODS_AT_ONCE = 3  # `listen` waits for messages most of the time
END_SECONDS = 2.0  # for the driver to fetch the last message


@dataclass(frozen=True, slots=True)
class Started:
    """The node of an actor, and the reason why its workers cannot run there."""

    node_id: str
    problem: str | None


@dataclass(frozen=True, slots=True)
class LastWords:
    """The reason why the actor ends."""

    reason: str


class ModelActor:
    """Serves a model to the driver: calls come by `call`, messages are fetched by `listen`, in order.

    `environment` are variables to set before the model is loaded.
    """

    def __init__(self, environment: Mapping[str, str], secrets: Sequence[str]) -> None:
        os.environ.update(environment)
        keep_freed_memory()
        self._channel = _Channel()
        self._server = _Server(self._channel, secrets)

    def start(self, needs: NodeNeeds, load: Callable[[], LoadedModel]) -> Started:
        """Begin to load the model, if it can run on this node."""
        import ray

        problem = find_problem(needs)
        if problem is None:
            threading.Thread(target=self._server.serve, args=(load,), name="serve", daemon=True).start()
        return Started(ray.get_runtime_context().get_node_id(), problem)

    def call(self, call: Call) -> None:
        """Have the model called; its reports and its reply are messages."""
        self._channel.calls.put(call)

    def listen(self) -> list[Report | Reply | LastWords]:
        """Wait for messages, and return all there are."""
        return self._channel.take()


class _Channel:
    """The queues between the actor's methods and its `ModelServer`."""

    def __init__(self) -> None:
        self.calls = queue.SimpleQueue[Call]()
        self._messages: list[Report | Reply | LastWords] = []
        self._taken = True  # whether the last messages have arrived: then the driver asks for the next ones
        self._changed = threading.Condition()

    def recv(self) -> Call:
        return self.calls.get()

    def send(self, message: Report | Reply | LastWords) -> None:
        with self._changed:
            self._messages.append(message)
            self._taken = False
            self._changed.notify_all()

    def take(self) -> list[Report | Reply | LastWords]:
        with self._changed:
            self._taken = not self._messages
            self._changed.notify_all()
            self._changed.wait_for(lambda: bool(self._messages))
            taken, self._messages = self._messages, []
            return taken

    def wait_until_taken(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._taken, seconds)


class _Server(ModelServer):
    """Sends the reason before the process ends: Ray knows that it has ended, but not why."""

    _connection: Any

    def _end(self, reason: str) -> NoReturn:
        self._connection.send(LastWords(reason))
        self._connection.wait_until_taken(END_SECONDS)
        super()._end(reason)
