"""Task runs that ask about several shards each; test_deployment.py runs them on a real server."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from flows.server import shard_tasks
from flows.server.shard_tasks import ShardTasks, TaskQueues, TaskRunEnded, TaskShards
from teacher.engines.base import TeacherDied
from tests.teacher.extraction.test_pool import SUMMARY, job

LANES = 3


class Pool:
    """Fails for shards called "bad"; counts the threads that ask."""

    def __init__(self) -> None:
        self.closing = threading.Event()
        self.asked = Counter[int]()
        self.tries = Counter[str]()

    def ask(self, job: Any, progress: object) -> Any:
        self.asked[threading.get_ident()] += 1
        self.tries[job.path] += 1
        if job.path == "bad":
            raise ValueError("bad")
        if job.path == "once" and self.tries["once"] == 1:
            raise TeacherDied("died")
        return SUMMARY


class Run:
    """A task run in a thread."""

    def __init__(self, future: Future[None]) -> None:
        self.future = future

    def wait(self) -> None:
        self.future.exception()

    def add_done_callback(self, done: Any) -> None:
        self.future.add_done_callback(done)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Run]]:
    """The task runs that were submitted; they run in threads."""
    started: list[Run] = []
    with ThreadPoolExecutor(2 * LANES) as threads:

        def submit(**given: Any) -> Run:
            plain = {name: getattr(value, "value", value) for name, value in given.items()}
            started.append(Run(threads.submit(shard_tasks.ask_shards.fn, **plain)))
            return started[-1]

        monkeypatch.setattr(shard_tasks.ask_shards, "submit", submit)
        monkeypatch.setattr(shard_tasks, "RETRY_DELAYS", (0.0,))
        yield started


def header_of(path: str) -> Any:
    made: Any = job(path)
    made.header.dataset = "sample"
    return made


def test_many_shards_share_few_task_runs(runs: list[Run]) -> None:
    pool: Any = Pool()
    said: list[str] = []
    with ShardTasks(say=said.append)(pool, pool, 4) as opened:
        assert isinstance(opened, TaskQueues)
        waiting = [f"shard {number}" for number in range(19)] + ["once"]
        asked, done = 0, 0
        while waiting or asked:
            while waiting and asked < LANES:
                opened.submit(header_of(waiting.pop()))
                asked += 1
            assert opened.next_done().result() == SUMMARY
            asked, done = asked - 1, done + 1
    assert done == 20
    assert 20 / 4 <= len(runs) <= 20 / 4 + LANES
    assert max(pool.asked.values()) > 1
    assert len(said) == 1, "the shard whose worker died is retried"


def test_a_failed_shard_fails_alone_and_its_task_run_at_the_end(runs: list[Run]) -> None:
    pool: Any = Pool()
    with ShardTasks(say=print)(pool, pool, 9) as opened:
        for name in ("bad", "good"):
            opened.submit(header_of(name))
            future = opened.next_done()
            if name == "bad":
                with pytest.raises(ValueError, match="bad"):
                    future.result()
            else:
                assert future.result() == SUMMARY
    assert len(runs) == 1
    assert isinstance(runs[0].future.exception(), ValueError)


def test_a_task_run_that_never_asks_answers_for_its_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    crashed = Future[None]()
    monkeypatch.setattr(shard_tasks.ask_shards, "submit", lambda **given: Run(crashed))
    pool: Any = Pool()
    with ShardTasks(say=print)(pool, pool, 9) as opened:
        opened.submit(header_of("a"))
        crashed.set_exception(RuntimeError("the server is gone"))
        with pytest.raises(TaskRunEnded):
            opened.next_done().result()


def test_few_shards_have_a_task_run_each() -> None:
    pool: Any = Pool()
    assert isinstance(ShardTasks(say=print)(pool, pool, 1), TaskShards)
