"""Workers in processes: what they have answered of a shard outlives an engine that breaks and one that is busy."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from storage.answers.reuse import known_answers
from storage.datasets.folder import image_folder
from storage.images.decoder_warnings import take_warnings
from teacher.engines.process import ModelProcess
from teacher.extraction.jobs import Extraction, ShardJob
from teacher.extraction.places import TeacherGivenUp, Worker
from teacher.extraction.plan import plan_extraction
from teacher.extraction.pool import STOP_SECONDS, WorkerPool
from teacher.extraction.processes import WorkerProcess, readers_of
from tests.storage.samples import QUESTIONS
from tests.teacher.extraction.slow_engine import load_worker
from tests.teacher.extraction.test_plan import TEACHER
from tests.teacher.images import write_images

IMAGES = 5


class SlowProcess(WorkerProcess):
    def __init__(self, quick: int, breaks: bool = False) -> None:
        ModelProcess.__init__(self, partial(load_worker, TEACHER, quick, breaks))


class Progress:
    def __init__(self) -> None:
        self.images = 0
        self.slow: list[str | None] = []
        self.changed = threading.Condition()

    def ready(self, slow_because: str | None) -> None:
        self.slow.append(slow_because)

    def advance(self, images: int, questions: int) -> None:
        with self.changed:
            self.images += images
            self.changed.notify_all()

    def wait_for(self, images: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.images >= images, timeout=60)


@pytest.fixture
def job(tmp_path: Path) -> ShardJob:
    folder, store = write_images(tmp_path / "photos", good=IMAGES), str(tmp_path / "store")
    odd = b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff\x12\x01garbage"
    Image.new("RGB", (9, 8)).save(folder / "train" / "a" / "00.png", "JPEG", exif=odd)
    dataset = image_folder(folder)
    plan = plan_extraction(dataset, ("train",), QUESTIONS, TEACHER, store, shard_size=IMAGES)
    (job,) = Extraction(plan=plan, dataset=dataset).jobs(known_answers(store, ["photos"], TEACHER.fingerprint))
    return job


def errors(job: ShardJob) -> list[str | None]:
    return list(job.directory.read_shard(job.shard.file_name)[1].errors)


def test_a_stopped_run_keeps_what_a_busy_worker_has_answered(job: ShardJob) -> None:
    pool, progress = WorkerPool(lambda number, cancelled: SlowProcess(quick=2), 1), Progress()
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(pool.ask, job, progress)
        progress.wait_for(2)
        started = time.monotonic()
        pool.stop()
        assert time.monotonic() - started < STOP_SECONDS + 1
        assert isinstance(asked.exception(timeout=30), TeacherGivenUp)
    assert errors(job) == [None] * 2 + ["not asked yet"] * 3
    assert progress.slow == ["it waits"]


def test_another_worker_goes_on_where_an_engine_broke(job: ShardJob) -> None:
    workers: list[SlowProcess] = []

    def start(number: int, cancelled: threading.Event) -> Worker:
        workers.append(SlowProcess(quick=3, breaks=True))
        return workers[-1]

    pool, progress = WorkerPool(start, 1), Progress()
    with pytest.raises(Exception, match="RuntimeError: out of memory"):
        pool.ask(job, progress)
    take_warnings()
    summary = pool.ask(job, progress)
    pool.close()
    assert (len(workers), summary.reused, summary.asked) == (2, 3 * len(QUESTIONS), 2 * len(QUESTIONS))
    assert errors(job) == [None] * IMAGES
    assert progress.images == IMAGES
    assert (take_warnings() or "").startswith("1 image gave warnings when decoded")


def test_decoding_threads_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    assert [readers_of(workers) for workers in (1, 2, 4, 8)] == [8, 8, 4, 2]
    assert readers_of(4, cores=64) == 8
