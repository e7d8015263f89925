"""What a worker keeps of a shard that it cannot finish, and when it loads its engine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from storage.answers.reuse import known_answers
from storage.answers.shards import Shard
from teacher.engines.base import TeacherUnreachable
from teacher.engines.packed_error import WorkerFailed
from teacher.extraction import extract, reading
from teacher.extraction.extract import AskingStopped
from teacher.extraction.jobs import Extraction, ShardJob
from teacher.extraction.plan import plan_extraction
from teacher.extraction.worker import EngineLoaded, ImagesDone, ShardWorker
from tests.storage.samples import QUESTIONS
from tests.teacher.extraction.test_plan import TEACHER, Engine, Unreadable
from tests.teacher.images import write_images

IMAGES = 6


class Scripted(Engine):
    """`before` is called with the number of each call, from 1."""

    def __init__(self, before: Callable[[int], None] = lambda call: None) -> None:
        super().__init__()
        self.before = before
        self.calls = 0

    def answer(self, images: Any, questions: Any) -> Any:
        self.calls += 1
        self.before(self.calls)
        return super().answer(images, questions)


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Unreadable:
    """Every image is asked about in a call of its own."""
    monkeypatch.setattr(reading, "CHUNK", 1)
    monkeypatch.setattr(extract, "PAIRS_AT_ONCE", 1)
    return Unreadable(write_images(tmp_path / "photos", good=IMAGES))


@pytest.fixture
def job(dataset: Unreadable, tmp_path: Path) -> ShardJob:
    store = str(tmp_path / "store")
    plan = plan_extraction(dataset, ("train",), QUESTIONS, TEACHER, store, shard_size=IMAGES)
    (job,) = Extraction(plan=plan, dataset=dataset).jobs(known_answers(store, ["photos"], TEACHER.fingerprint))
    return job


def worker_with(engine: Engine) -> ShardWorker:
    return ShardWorker(lambda: engine, TEACHER, readers=2)


def ignore(report: object) -> None:
    pass


def stored_errors(job: ShardJob) -> Sequence[str | None]:
    return job.directory.read_shard(job.shard.file_name)[1].errors


def raising(call: int, error: Exception) -> Callable[[int], None]:
    def before(number: int) -> None:
        if number == call:
            raise error

    return before


def test_progress_counts_the_images_of_the_shard(job: ShardJob) -> None:
    reports: list[object] = []
    worker_with(Engine()).ask(job, reports.append)
    assert reports == [EngineLoaded(None), *(ImagesDone(count) for count in range(1, IMAGES + 1))]


def test_another_attempt_in_the_same_worker_asks_the_rest(job: ShardJob) -> None:
    engine = Scripted(raising(3, TeacherUnreachable("silence")))
    worker = worker_with(engine)
    with pytest.raises(TeacherUnreachable):
        worker.ask(job, ignore)
    summary = worker.ask(job, ignore)
    assert engine.asked == summary.asked == IMAGES * len(QUESTIONS)


def test_an_engine_that_breaks_loses_no_answers_to_another_worker(job: ShardJob) -> None:
    with pytest.raises(RuntimeError, match="out of memory"):
        worker_with(Scripted(raising(5, RuntimeError("out of memory")))).ask(job, ignore)
    assert stored_errors(job) == [None] * 4 + ["not asked yet"] * 2
    # The second one fails too, in the middle and without breaking; its next attempt finishes.
    engine = Scripted(raising(2, TeacherUnreachable("silence")))
    worker = worker_with(engine)
    with pytest.raises(TeacherUnreachable):
        worker.ask(job, ignore)
    summary = worker.ask(job, ignore)
    assert (engine.asked, summary.asked, summary.reused) == (6, 6, 4 * len(QUESTIONS))
    assert stored_errors(job) == [None] * IMAGES


def test_a_worker_that_is_stopped_writes_its_shards_while_the_engine_is_busy(job: ShardJob) -> None:
    busy, released = threading.Event(), threading.Event()

    def before(call: int) -> None:
        if call == 3:
            busy.set()
            assert released.wait(timeout=30)

    worker = worker_with(Scripted(before))
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(worker.ask, job, ignore)
        assert busy.wait(timeout=30)
        worker.stop()
        assert stored_errors(job) == [None] * 2 + ["not asked yet"] * 4
        released.set()
        assert isinstance(asked.exception(timeout=30), AskingStopped)


def test_an_unfinished_shard_does_not_replace_an_existing_one(
    job: ShardJob, dataset: Unreadable, tmp_path: Path
) -> None:
    worker_with(Engine()).ask(job, ignore)
    again = plan_extraction(dataset, ("train",), QUESTIONS, TEACHER, str(tmp_path / "store"), shard_size=IMAGES)
    shard: Shard = again.shards[0]
    with pytest.raises(RuntimeError):
        worker_with(Scripted(raising(2, RuntimeError("no")))).ask(
            Extraction(plan=again, dataset=dataset).job(shard, known_answers(str(tmp_path), [], "")), ignore
        )
    assert stored_errors(job) == [None] * IMAGES


def test_known_answers_need_no_engine(job: ShardJob, dataset: Unreadable, tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    worker_with(Engine()).ask(job, ignore)
    copy = Unreadable(dataset.folder, name="copy")
    plan = plan_extraction(copy, ("train",), QUESTIONS, TEACHER, store, shard_size=IMAGES)

    def load() -> Engine:
        raise AssertionError("an engine was loaded")

    (shard,) = Extraction(plan=plan, dataset=copy).jobs(known_answers(store, ["copy"], TEACHER.fingerprint))
    summary = ShardWorker(load, TEACHER, readers=1).ask(shard, ignore)
    assert (summary.asked, summary.reused) == (0, IMAGES * len(QUESTIONS))


def test_an_engine_that_cannot_be_used_is_loaded_once(job: ShardJob) -> None:
    loads: list[int] = []

    def load() -> Engine:
        loads.append(1)
        raise ValueError("no such setting")

    worker = ShardWorker(load, TEACHER, readers=1)
    for _ in range(2):
        with pytest.raises(ValueError, match="the teacher cannot be used: no such setting"):
            worker.ask(job, ignore)
    assert len(loads) == 1


def test_a_defect_of_the_program_keeps_its_traceback(job: ShardJob, dataset: Unreadable) -> None:
    broken = Unreadable(dataset.folder, {job.shard.records[1].image_id: KeyError("ours")})
    with pytest.raises(WorkerFailed, match=r"(?s)Traceback .*test_plan\.py.*KeyError: 'ours'"):
        worker_with(Engine()).ask(ShardJob(**{**vars(job), "dataset": broken}), ignore)
