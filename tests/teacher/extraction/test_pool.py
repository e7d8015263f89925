"""Workers are started when a shard needs one, replaced when they die, and given up when that is of no use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from teacher.engines.base import EngineUsage, TeacherDied, TeacherPaused, TeacherUnreachable
from teacher.engines.config import TeacherInvalid
from teacher.extraction.jobs import ShardJob, ShardSummary
from teacher.extraction.places import MAX_FAILED_STARTS, TeacherGivenUp, Worker
from teacher.extraction.pool import WorkerPool
from teacher.extraction.worker import EngineLoaded, ImagesDone, ReportProgress

SUMMARY = ShardSummary(
    index=0, images=3, images_asked=3, errors=0, asked=6, reused=0, decode_seconds=0.0, write_seconds=0.0
)
Outcome = Exception | None


def job(path: str = "a") -> ShardJob:
    header = SimpleNamespace(questions=["Is it red?", "Is it big?"])
    shard = SimpleNamespace(index=len(path), records=[SimpleNamespace(image_id=f"{path}/{name}") for name in (1, 2)])
    fake: Any = SimpleNamespace(path=path, header=header, shard=shard)
    return fake


class Progress:
    def __init__(self) -> None:
        self.images = self.questions = self.loads = 0

    def ready(self, slow_because: str | None) -> None:
        self.loads += 1

    def advance(self, images: int, questions: int) -> None:
        self.images += images
        self.questions += questions


class FakeWorker:
    """Goes through `outcomes` of loading or asking; `loads` says whether its engine is ever ready. TeacherDied ends
    it."""

    def __init__(self, outcomes: Sequence[Outcome] = (), *, loads: bool = True) -> None:
        self.pending = False
        self.alive = True
        self.usage = EngineUsage()
        self.outcomes = list(outcomes)
        self.loads = loads
        self.asked: list[str] = []
        self.stopped = False
        self.gate = threading.Event()
        self.gate.set()

    def ask(self, job: ShardJob, on_report: ReportProgress) -> ShardSummary:
        if self.loads and not self.asked:
            on_report(EngineLoaded(None))
        self.asked.append(job.path)
        on_report(ImagesDone(2))
        self.gate.wait(timeout=30)
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if isinstance(outcome, TeacherDied):
            self.alive = False
        if outcome is not None:
            raise outcome
        on_report(ImagesDone(3))
        return SUMMARY

    def begin_stop(self) -> Future[None]:
        self.stopped = True
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def close(self) -> None:
        self.alive = False
        self.gate.set()


def pool_of(*workers: list[Worker | Exception]) -> tuple[WorkerPool, list[int]]:
    """Each place starts its workers in order, the last one for ever; the numbers of the places that started one."""
    starts: list[int] = []

    def start(number: int, cancelled: threading.Event) -> Worker:
        count = starts.count(number)
        starts.append(number)
        worker = workers[number][min(count, len(workers[number]) - 1)]
        if isinstance(worker, Exception):
            raise worker
        return worker

    return WorkerPool(start, len(workers)), starts


def test_nothing_is_started_before_it_is_needed() -> None:
    pool, starts = pool_of([FakeWorker()])
    pool.close()
    assert starts == []


def test_one_worker_serves_all_shards() -> None:
    pool, starts = pool_of([FakeWorker()])
    assert [pool.ask(job(name), Progress()) for name in "abc"] == [SUMMARY] * 3
    assert len(starts) == len(pool.ready) == 1


def test_a_dead_worker_is_replaced_and_its_usage_counts() -> None:
    first, second = FakeWorker([TeacherDied("gone")]), FakeWorker()
    first.usage.questions, second.usage.questions = 3, 4
    pool, _ = pool_of([first, second])
    progress = Progress()
    with pytest.raises(TeacherDied, match="gone"):
        pool.ask(job(), progress)
    assert pool.ask(job(), progress) == SUMMARY
    assert sum(usage.questions for usage in pool.usages) == 7
    assert (progress.images, progress.questions, progress.loads) == (3, 6, 2)  # images asked about twice count once


@pytest.mark.parametrize("error", [TeacherInvalid("no chat template"), TeacherPaused("no requests until noon")])
def test_an_unusable_teacher_is_not_loaded_again(error: Exception) -> None:
    worker = FakeWorker([error], loads=False)
    pool, starts = pool_of([worker])
    for _ in range(3):
        with pytest.raises(type(error), match=str(error)):
            pool.ask(job(), Progress())
    assert (len(starts), len(worker.asked)) == (1, 1)


@pytest.mark.parametrize("make", [lambda error: error, lambda error: FakeWorker([error], loads=False)])
def test_starting_is_given_up_after_several_deaths(make: Callable[[Exception], Any]) -> None:
    pool, starts = pool_of([make(TeacherDied("out of memory")) for _ in range(MAX_FAILED_STARTS + 1)])
    for _ in range(MAX_FAILED_STARTS - 1):
        with pytest.raises(TeacherDied, match="out of memory"):
            pool.ask(job(), Progress())
    for _ in range(3):
        with pytest.raises(TeacherGivenUp, match=r"out of memory \(after 3 starts\)"):
            pool.ask(job(), Progress())
    assert len(starts) == MAX_FAILED_STARTS


def test_a_server_out_of_reach_is_given_up_in_the_same_worker() -> None:
    pool, starts = pool_of([FakeWorker([TeacherUnreachable("silence")] * MAX_FAILED_STARTS, loads=False)])
    for _ in range(MAX_FAILED_STARTS - 1):
        with pytest.raises(TeacherUnreachable):
            pool.ask(job(), Progress())
    with pytest.raises(TeacherGivenUp, match="silence"):
        pool.ask(job(), Progress())
    assert len(starts) == 1


def test_a_loaded_engine_that_fails_is_not_given_up() -> None:
    pool, _ = pool_of([FakeWorker([TeacherUnreachable("silence")] * 5)])
    for _ in range(5):
        with pytest.raises(TeacherUnreachable):
            pool.ask(job(), Progress())
    assert pool.ask(job(), Progress()) == SUMMARY


def test_shards_are_shared_out_evenly_and_a_failed_one_goes_back_to_where_its_rows_are() -> None:
    workers = [FakeWorker(), FakeWorker()]
    workers[1].outcomes = [TeacherUnreachable("silence")]
    for worker in workers:
        worker.gate.clear()
    pool, _ = pool_of([workers[0]], [workers[1]])
    with ThreadPoolExecutor(4) as threads:
        asked = []
        for count, name in enumerate("abcd", 1):
            asked.append(threads.submit(pool.ask, job(name), Progress()))
            while sum(len(worker.asked) for worker in workers) < count:
                threading.Event().wait(0.001)
        for worker in workers:
            worker.gate.set()
        failed = [name for name, future in zip("abcd", asked, strict=True) if future.exception(timeout=30)]
    assert [sorted(worker.asked) for worker in workers] == [["a", "c"], ["b", "d"]]
    pool.ask(job(failed[0]), Progress())
    assert workers[1].asked[-1] == failed[0]


def test_a_place_that_has_given_up_gets_no_more_shards() -> None:
    good = FakeWorker()
    pool, _ = pool_of([TeacherInvalid("no memory")], [good])
    pool._places[0].refuse(TeacherInvalid("no memory"))
    for name in "abc":
        pool.ask(job(name), Progress())
    assert good.asked == ["a", "b", "c"]


def test_a_stopped_pool_has_workers_write_ends_them_and_starts_no_other() -> None:
    worker = FakeWorker()
    pool, starts = pool_of([worker])
    pool.ask(job(), Progress())
    pool.stop()
    assert (worker.stopped, worker.alive) == (True, False)
    with pytest.raises(TeacherGivenUp, match="stopped"):
        pool.ask(job(), Progress())
    assert len(starts) == 1


def test_a_closed_pool_has_nothing_written() -> None:
    worker = FakeWorker()
    pool, _ = pool_of([worker])
    pool.ask(job(), Progress())
    pool.close()
    assert (worker.stopped, worker.alive) == (False, False)


def test_stopping_ends_a_worker_that_is_still_starting() -> None:
    starting = threading.Event()

    def start(number: int, cancelled: threading.Event) -> Worker:
        starting.set()
        assert cancelled.wait(timeout=30)
        raise TeacherDied("ended before it had loaded")

    pool = WorkerPool(start, 1)
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(pool.ask, job(), Progress())
        assert starting.wait(timeout=30)
        pool.stop()
        assert str(asked.exception(timeout=30)) == "the run was stopped"
