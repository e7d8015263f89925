"""Shards of a plain command: threads, and the rule of what is tried again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass

from flows.parameters import MAX_WORKERS
from flows.work.host import Ask
from storage.text import printable
from teacher.engines.base import TeacherUnreachable
from teacher.engines.process import TeacherDied
from teacher.extraction.extract import ShardSummary

RETRY_DELAYS = (4.0, 8.0, 16.0)  # seconds before a shard is asked again
# For each worker: one shard's images are read, decoded and rendered while the model is busy with the other's.
SHARDS_AT_ONCE = 2
LONGEST_REASON = 300  # characters


def may_pass(error: BaseException) -> bool:
    """Whether asking the shard again may help: its engine died, or its server was out of reach."""
    return isinstance(error, (TeacherDied, TeacherUnreachable))


class ThreadShards:
    """As `Shards`, a thread for each shard that is being asked."""

    def __init__(self, threads: ThreadPoolExecutor, ask: Ask) -> None:
        self._threads = threads
        self._ask = ask
        self._asked: list[Future[ShardSummary]] = []

    def submit(self, extraction: int, shard: int) -> None:
        self._asked.append(self._threads.submit(self._ask, extraction, shard))

    def next_done(self) -> Future[ShardSummary]:
        done = next(iter(wait(self._asked, return_when=FIRST_COMPLETED).done))
        self._asked.remove(done)
        return done


@dataclass(frozen=True, kw_only=True)
class ThreadedShards:
    """The `OpenShards` of a plain command. Tells `say` what is tried again."""

    say: Callable[[str], None]
    delays: Sequence[float] = RETRY_DELAYS

    @contextmanager
    def __call__(self, ask: Ask, stopped: threading.Event) -> Iterator[ThreadShards]:
        def ask_patiently(extraction: int, shard: int) -> ShardSummary:
            for delay in self.delays:
                try:
                    return ask(extraction, shard)
                except Exception as error:  # of any kind: the rule says which ones may pass
                    if stopped.is_set() or not may_pass(error):
                        raise
                    self.say(f"shard {shard} is asked again in {delay:g} s: {printable(str(error), LONGEST_REASON)}")
                stopped.wait(delay)
            return ask(extraction, shard)

        with ThreadPoolExecutor(SHARDS_AT_ONCE * MAX_WORKERS) as threads:
            yield ThreadShards(threads, ask_patiently)
