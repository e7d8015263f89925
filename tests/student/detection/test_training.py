from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from storage.datasets import DetectionDataset
from student.classification.runs import load_run
from student.core.files import RunInvalid
from student.core.loop import TrainingDiverged
from student.core.setting_errors import ConfigInvalid
from student.detection.config import DetectorConfig
from student.detection.evaluate import evaluate_detector, read_detection_evaluation
from student.detection.examples import DetectionAnswers
from student.detection.runs import is_detector_run, load_detector_run
from student.detection.training import train_detector
from tests.student.stopping import Stopped, stop_after


def assert_same_weights(one: Path, other: Path) -> None:
    expected, found = (load_detector_run(run_dir).load().state_dict() for run_dir in (one, other))
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("detector", ["faster-rcnn", "fcos"])
def test_a_stopped_run_goes_on_to_the_same_bits(
    detector_config: DetectorConfig,
    scenes: DetectionDataset,
    detection_answers: DetectionAnswers,
    tmp_path: Path,
    detector: str,
) -> None:
    config = detector_config.replace(detector=detector, watch="test", watch_every=2)

    whole = train_detector(config, scenes, detection_answers, tmp_path / "whole", progress=False)
    with pytest.raises(Stopped):
        train_detector(config, scenes, detection_answers, tmp_path / "stopped", progress=False, on_epoch=stop_after(2))
    epochs: list[int] = []
    went_on = train_detector(
        config,
        scenes,
        detection_answers,
        tmp_path / "stopped",
        progress=False,
        on_epoch=lambda log: epochs.append(log.epoch),
    )
    assert epochs == [3]
    assert_same_weights(tmp_path / "whole", tmp_path / "stopped")
    assert [log.loss for log in went_on.epochs] == [log.loss for log in whole.epochs]
    assert [log.watched_map50 is not None for log in whole.epochs] == [False, True, True]
    assert not list((tmp_path / "whole").glob("*.uint8"))


@pytest.mark.parametrize("detector", ["faster-rcnn", "fcos", "retinanet"])
def test_bf16_trains_too(
    detector_config: DetectorConfig,
    scenes: DetectionDataset,
    detection_answers: DetectionAnswers,
    tmp_path: Path,
    detector: str,
) -> None:
    config = detector_config.replace(detector=detector, precision="bf16-mixed", epochs=2)
    run = train_detector(config, scenes, detection_answers, tmp_path, progress=False)
    assert run.epochs[-1].loss < run.epochs[0].loss


def test_alpha_0_trains_what_base_trains(
    detector_config: DetectorConfig, scenes: DetectionDataset, detection_answers: DetectionAnswers, tmp_path: Path
) -> None:
    config = detector_config.replace(epochs=2)
    train_detector(config.replace(method="base"), scenes, DetectionAnswers(), tmp_path / "base", progress=False)
    zero = config.replace(alpha=0.0, image_alpha=0.0)
    train_detector(zero, scenes, detection_answers, tmp_path / "zero", progress=False)
    assert_same_weights(tmp_path / "base", tmp_path / "zero")


def test_a_finished_run_returns_at_once_and_another_is_refused(
    detector_config: DetectorConfig, scenes: DetectionDataset, detection_answers: DetectionAnswers, tmp_path: Path
) -> None:
    config = detector_config.replace(epochs=1, warmup=0)
    first = train_detector(config, scenes, detection_answers, tmp_path, progress=False)
    again = train_detector(
        config, scenes, detection_answers, tmp_path, progress=False, on_epoch=lambda log: pytest.fail("trained again")
    )
    assert again == first
    assert train_detector(config.replace(watch="test"), scenes, detection_answers, tmp_path, progress=False) == first
    with pytest.raises(RunInvalid, match=r"holds a run with lr 0\.001, not 0\.1; choose another folder"):
        train_detector(config.replace(lr=0.1), scenes, detection_answers, tmp_path, progress=False)
    assert is_detector_run(tmp_path)
    assert not is_detector_run(tmp_path / "nowhere")
    with pytest.raises(RunInvalid, match="holds the run of a detector, not of a classifier"):
        load_run(tmp_path)


def test_it_learns_and_is_evaluated(
    detector_config: DetectorConfig, scenes: DetectionDataset, detection_answers: DetectionAnswers, tmp_path: Path
) -> None:
    config = detector_config.replace(epochs=15, crop=False, lr=3e-3)
    run = train_detector(config, scenes, detection_answers, tmp_path, progress=False)
    for part in ("detection", "box_aspects", "image_aspects"):
        assert getattr(run.epochs[-1], part) < getattr(run.epochs[0], part)
    evaluation = evaluate_detector(tmp_path, scenes, detection_answers, "train")
    assert evaluation.images == 12
    assert evaluation.boxes == sum(score.boxes for score in evaluation.scores.per_class)
    assert evaluation.scores.map50 > 0.02
    assert evaluation.scores.large is None  # there are no large boxes on 64 px
    assert {score.key for score in evaluation.box_aspects} <= set(run.description.to_dict()["class_names"]) | {
        aspect.key for aspect in run.description.box_aspects
    }
    assert evaluation.box_auroc is not None
    assert evaluation.box_auroc > 0.6
    assert read_detection_evaluation(tmp_path, "train") == evaluation
    assert json.loads((tmp_path / "evaluation-train.json").read_text())["box_auroc"] == evaluation.box_auroc


def test_a_loss_that_is_no_number_stops_the_run(
    detector_config: DetectorConfig, scenes: DetectionDataset, tmp_path: Path
) -> None:
    config = detector_config.replace(method="base", lr=1e30, warmup=0, clip_norm=None, detector="fcos")
    with pytest.raises(TrainingDiverged, match=r"the loss became (nan|inf) in epoch \d.*lower lr"):
        train_detector(config, scenes, DetectionAnswers(), tmp_path, progress=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_one_line(
    detector_config: DetectorConfig, scenes: DetectionDataset, tmp_path: Path
) -> None:
    config = detector_config.replace(method="base", accelerator="cuda")
    with pytest.raises(ConfigInvalid, match=r"1 CUDA device\(s\) asked for, but torch sees 0"):
        train_detector(config, scenes, DetectionAnswers(), tmp_path, progress=False)


def test_two_processes_train_one_detector(
    detector_config: DetectorConfig, scenes: DetectionDataset, detection_answers: DetectionAnswers, tmp_path: Path
) -> None:
    config = detector_config.replace(devices=2, threads=1, epochs=2)
    epochs: list[int] = []
    run = train_detector(
        config, scenes, detection_answers, tmp_path, progress=False, on_epoch=lambda log: epochs.append(log.epoch)
    )
    assert [log.epoch for log in run.epochs] == epochs == [1, 2]
    assert not list(tmp_path.glob("*.uint8"))
