"""The same pixels and the same training wherever images are kept; workers that end with their process."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

from storage.datasets import DetectionDataset, FileDataset, image_folder
from storage.errors import RunFailed
from student.classification.config import StudentConfig
from student.classification.examples import TeacherAnswers
from student.classification.images import evaluation_cache, training_cache
from student.classification.training import train
from student.core.images import ImagesInvalid
from student.core.streaming import StreamedImages, reporting_dead_workers
from student.detection.config import DetectorConfig
from student.detection.examples import DetectionAnswers
from student.detection.training import train_detector
from tests.conftest import PROJECT
from tests.flows.processes import wait_until
from tests.student.classification.test_training import assert_same_weights
from tests.student.detection.conftest import *  # noqa: F403  # fixtures
from tests.student.stopping import Stopped, stop_after

PLACES = ("memory", "disk", "stream")


def placed(config: StudentConfig, place: str, tmp_path: Path, workers: int = 0) -> StudentConfig:
    return config.replace(cache=place, cache_folder=str(tmp_path / "cache"), workers=workers)


@pytest.mark.parametrize("open_cache", [training_cache, evaluation_cache])
def test_pixels_are_the_same_wherever_they_are(
    config: StudentConfig, dataset: FileDataset, tmp_path: Path, open_cache: object
) -> None:
    assert callable(open_cache)
    found = []
    for place in PLACES:
        with open_cache(placed(config, place, tmp_path), dataset, dataset.records, tmp_path) as images:
            batches = [*images.batches([[3, 1], [], [7]]), *images.in_order(10)]
            found.append([image for batch in batches for image in batch])
            assert images.shape(3) == tuple(images.image(3).shape[1:])
            assert isinstance(images, StreamedImages) == (place == "stream")
    for others in found[1:]:
        assert all(torch.equal(one, other) for one, other in zip(found[0], others, strict=True))
        assert [one.stride() for one in found[0]] == [other.stride() for other in others]


def test_training_is_the_same_wherever_the_images_are_and_resumes(
    config: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers, tmp_path: Path
) -> None:
    config = config.replace(policy="rand")

    runs = {}
    for place in PLACES:
        runs[place] = train(placed(config, place, tmp_path), dataset, teacher_answers, tmp_path / place, progress=False)
    with pytest.raises(Stopped):
        train(
            placed(config, "memory", tmp_path), dataset, teacher_answers, tmp_path / "resumed", progress=False,
            on_epoch=stop_after(1),
        )  # fmt: skip
    streamed = placed(config, "stream", tmp_path, workers=1)
    runs["resumed"] = train(streamed, dataset, teacher_answers, tmp_path / "resumed", progress=False)
    for place in ("disk", "stream", "resumed"):
        assert_same_weights(tmp_path / "memory", tmp_path / place)
        assert [log.loss for log in runs[place].epochs] == [log.loss for log in runs["memory"].epochs]
        assert [log.val_loss for log in runs[place].epochs] == [log.val_loss for log in runs["memory"].epochs]


def test_detectors_are_the_same_wherever_the_images_are(
    detector_config: DetectorConfig, scenes: DetectionDataset, detection_answers: DetectionAnswers, tmp_path: Path
) -> None:
    config = detector_config.replace(epochs=1, warmup=0, image_size=48)
    losses = []
    for place in ("memory", "stream"):
        here = config.replace(cache=place, workers=0)
        run = train_detector(here, scenes, detection_answers, tmp_path / place, progress=False)
        losses.append(run.epochs[0].loss)
    assert losses[0] == losses[1]


def test_streamed_images_are_not_read_before_they_are_needed_and_a_damaged_one_is_named(
    config: StudentConfig, image_root: Path, tmp_path: Path
) -> None:
    shutil.copytree(image_root, tmp_path / "images")
    dataset = image_folder(tmp_path / "images", name="colours")
    (tmp_path / "images/train/red/001.png").write_bytes(b"no image")
    streamed = placed(config, "stream", tmp_path).replace(val_fraction=0.0, keep="last", method="base")
    with (
        training_cache(streamed, dataset, dataset.records, tmp_path) as images,
        pytest.raises(ImagesInvalid, match=r"^1 of 36 images of dataset 'colours' cannot be read: train/red/001.png"),
    ):
        list(images.in_order(36))
    assert not (tmp_path / "cache").exists()
    # Dropped images are known before the first epoch, so that the order is that of the other caches.
    drops = [placed(streamed.replace(damaged_images="drop"), place, tmp_path) for place in PLACES]
    runs = [train(one, dataset, TeacherAnswers(), tmp_path / f"dropped-{one.cache}", progress=False) for one in drops]
    assert [run.dropped_images for run in runs] == [1, 1, 1]
    assert runs[0].epochs[-1].loss == runs[1].epochs[-1].loss == runs[2].epochs[-1].loss


def test_a_task_for_a_worker_carries_its_own_images_alone(
    config: StudentConfig, dataset: FileDataset, tmp_path: Path
) -> None:
    with training_cache(placed(config, "stream", tmp_path), dataset, dataset.records, tmp_path) as images:
        assert isinstance(images, StreamedImages)
        assert len(pickle.dumps(images._task([1, 2]))) < 1000 < len(pickle.dumps(dataset))


STREAM_SCRIPT = """
import sys, time
from pathlib import Path
from storage.datasets import image_folder
from student.classification.config import StudentConfig
from student.classification.images import training_cache
dataset = image_folder(Path(sys.argv[1]))
config = StudentConfig(backbone="test_resnet", image_size=32, epochs=1, cache="stream", workers=1)
with training_cache(config, dataset, dataset.records, Path(sys.argv[2])) as images:
    for batch in images.batches([[0]] * 1000):
        (Path(sys.argv[2]) / "started").touch()
        time.sleep(1000)
"""


def test_workers_end_with_a_killed_process(image_root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", STREAM_SCRIPT, str(image_root), str(tmp_path)]
    process: subprocess.Popen[bytes] = subprocess.Popen(command, cwd=PROJECT, env=os.environ)
    try:
        wait_until((tmp_path / "started").exists, 120, "the first batch", process)
        workers = psutil.Process(process.pid).children(recursive=True)
        assert len(workers) >= 1
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == []


def test_a_killed_worker_is_one_line(config: StudentConfig, dataset: FileDataset, tmp_path: Path) -> None:
    def kill_the_worker() -> None:
        config_ = placed(config, "stream", tmp_path, workers=1)
        with training_cache(config_, dataset, dataset.records, tmp_path) as images:
            for _ in images.batches([[0]] * 100):
                for worker in psutil.Process().children():
                    if "spawn_main" in " ".join(worker.cmdline()):
                        worker.kill()

    with pytest.raises(RunFailed, match=r"a process that decodes images has ended .*--set workers=NUMBER.*resumes"):
        kill_the_worker()


def test_other_errors_stay_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="another"), reporting_dead_workers():
        raise RuntimeError("another")
