"""Workers that wait for resources, machines that go away, and shards that their workers die of."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from teacher.engines.base import TeacherDied, WorkerLost
from teacher.extraction.jobs import ShardJob, ShardSummary
from teacher.extraction.pool import MAX_DEATHS, ShardGivenUp
from teacher.extraction.worker import EngineLoaded, ReportProgress
from tests.teacher.extraction.test_pool import SUMMARY, FakeWorker, Progress, job, pool_of


def test_a_pending_worker_gets_no_shard_until_it_has_started() -> None:
    waiting, ready = FakeWorker(), FakeWorker()
    waiting.pending = True
    pool, starts = pool_of([waiting], [ready])
    for name in "abc":
        pool.ask(job(name), Progress())
    assert (waiting.asked, ready.asked, starts) == ([], ["a", "b", "c"], [0, 1])
    waiting.pending = False
    pool.ask(job("d"), Progress())
    assert waiting.asked == ["d"]


def test_a_shard_waits_while_all_workers_are_pending() -> None:
    worker = FakeWorker()
    worker.pending = True
    pool, _ = pool_of([worker])
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(pool.ask, job(), Progress())
        with pytest.raises(TimeoutError):
            asked.result(timeout=0.1)
        worker.pending = False
        assert asked.result(timeout=30) == SUMMARY


def test_a_lost_machine_is_no_failure_of_the_shard_or_the_teacher() -> None:
    lost = [FakeWorker([WorkerLost("node gone")], loads=loads) for loads in (True, False) * MAX_DEATHS]
    pool, starts = pool_of([*lost, FakeWorker()])
    assert pool.ask(job(), Progress()) == SUMMARY
    assert len(starts) == len(lost) + 1


class Fragile(FakeWorker):
    """Dies of shard `bad`, a moment after it has got it."""

    def ask(self, job: ShardJob, on_report: ReportProgress) -> ShardSummary:
        if job.path != "bad":
            return super().ask(job, on_report)
        self.asked.append(job.path)
        on_report(EngineLoaded(None))
        self.outcomes = [TeacherDied("killed")] * 2
        self.alive = False
        raise TeacherDied("killed")


def test_a_shard_that_kills_workers_is_asked_about_alone_and_then_given_up() -> None:
    workers: list[FakeWorker] = [Fragile() for _ in range(MAX_DEATHS)]
    pool, _ = pool_of([*workers, FakeWorker()])
    workers[0].gate.clear()
    with ThreadPoolExecutor(2) as threads:
        beside = threads.submit(pool.ask, job("a"), Progress())
        while not workers[0].asked:
            threading.Event().wait(0.001)
        with pytest.raises(TeacherDied):
            pool.ask(job("bad"), Progress())
        workers[0].gate.set()
        assert isinstance(beside.exception(timeout=30), TeacherDied)
    with pytest.raises(TeacherDied):
        pool.ask(job("bad"), Progress())
    with pytest.raises(ShardGivenUp, match=r"bad/1 to bad/2\) is left out: 3 workers died .* so: killed; give"):
        pool.ask(job("bad"), Progress())
    assert pool.ask(job("a"), Progress()) == SUMMARY
    assert [worker.asked for worker in workers] == [["a", "bad"], ["bad"], ["bad"]]


def test_a_shard_that_is_asked_about_alone_shares_its_worker_with_none() -> None:
    worker = FakeWorker()
    pool, _ = pool_of([FakeWorker([TeacherDied("killed")]), worker])
    with pytest.raises(TeacherDied):
        pool.ask(job("s"), Progress())
    worker.gate.clear()
    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(pool.ask, job("a"), Progress())
        while worker.asked != ["a"]:
            threading.Event().wait(0.001)
        suspect = threads.submit(pool.ask, job("s"), Progress())
        while pool._places[0].reserved != "s":
            threading.Event().wait(0.001)
        later = threads.submit(pool.ask, job("b"), Progress())
        threading.Event().wait(0.05)
        assert worker.asked == ["a"]  # "s" waits for its end, "b" for that of "s"
        worker.gate.set()
        assert [future.result(timeout=30) for future in (first, suspect, later)] == [SUMMARY] * 3
    assert worker.asked == ["a", "s", "b"]
