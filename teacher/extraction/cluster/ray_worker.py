"""One worker in an actor of a Ray cluster."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from storage.answers.reuse import KnownAnswers
from teacher.engines.base import TeacherDied, WorkerLost
from teacher.engines.engine_log import last_lines
from teacher.engines.serving import LOADED, Call
from teacher.extraction.cluster import connection
from teacher.extraction.cluster.actor import LastWords, Started
from teacher.extraction.cluster.connection import ClusterInvalid, ClusterUnreachable
from teacher.extraction.shard_calls import ShardCalls, learn
from teacher.extraction.worker import ShardWorker

WAITING_SECONDS = 10.0  # for an actor to start, before that is reported


class RayWorker(ShardCalls):
    """A `ShardWorker` in an actor, for the pool. The actor ends with this process, even if that is killed."""

    def __init__(
        self,
        actor: Any,
        started: Any,
        secrets: Sequence[str],
        report_waiting: Callable[[bool], None],
        reference: Callable[[KnownAnswers], Any],
    ) -> None:
        super().__init__()
        self._actor = actor
        self._started = started
        self._secrets = secrets
        self._report_waiting = report_waiting
        self._reference = reference
        self._node_id = ""
        self._words = ""
        self._closed = False
        self._loaded: Future[Any] = Future()
        self._waiting[LOADED] = self._loaded
        self._listener = threading.Thread(target=self._listen, name="listen", daemon=True)
        self._listener.start()

    @property
    def alive(self) -> bool:
        return self._ended is None

    @property
    def pending(self) -> bool:
        return not self._loaded.done()

    def close(self) -> None:
        """End the actor. Threads that still wait for an answer get TeacherDied."""
        self._closed = True
        self._kill()
        self._listener.join(timeout=5)

    def _send_known(self, known: KnownAnswers) -> Future[None]:
        return self.call_urgently(_learn, self._reference(known))

    def _transmit(self, call: Call) -> None:
        with connection.reaching_cluster():
            self._actor.call.remote(call)

    def _failure(self) -> Exception:
        return TeacherDied("the connection to the cluster is closed")

    def _listen(self) -> None:
        """Pass messages to the waiting threads until the actor ends."""
        import ray

        try:
            self._wait_for_start()
            while True:
                for message in ray.get(self._actor.listen.remote()):
                    if isinstance(message, LastWords):
                        self._words = message.reason
                    else:
                        self._deliver(message)
        except ClusterInvalid as error:
            failure: Exception = error
        except Exception as error:  # Ray and its client raise errors of many types: whatever it is, the actor is lost
            failure = self._death(error)
        self._report_waiting(False)
        self._kill()  # it may only be out of reach: another worker gets its shards
        self._end(failure)

    def _wait_for_start(self) -> None:
        import ray

        begun = time.monotonic()
        while not ray.wait([self._started], timeout=1.0)[0]:
            if time.monotonic() - begun > WAITING_SECONDS:
                self._report_waiting(True)
        self._report_waiting(False)
        started: Started = ray.get(self._started)
        self._node_id = started.node_id
        if started.problem is not None:
            raise ClusterInvalid(f"a worker cannot run on its node of the cluster: {started.problem}")

    def _death(self, error: Exception) -> TeacherDied | ClusterUnreachable:
        """Return the error to raise for an actor that has ended because of `error`."""
        if self._closed:
            return TeacherDied("the worker was ended")
        reason = last_lines(self._words or cause_of(error), self._secrets)
        try:
            nodes = {node.node_id for node in connection.alive_nodes()}
        except ClusterUnreachable as gone:
            return gone
        if self._node_id not in nodes:
            return WorkerLost(f"the node of a worker is gone: {reason}")
        return TeacherDied(f"a worker of the cluster ended: {reason}")

    def _kill(self) -> None:
        import ray

        with suppress(Exception):  # of many types; it has ended, or the cluster has
            ray.kill(self._actor)


def _learn(worker: ShardWorker, reference: Any) -> None:
    import ray

    learn(worker, ray.get(reference))


def cause_of(error: Exception) -> str:
    """Return the end of one of Ray's errors: its first lines are identifiers."""
    return last_lines(str(error)) or type(error).__name__
