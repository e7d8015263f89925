from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from storage.datasets import FileDataset
from student.classification.calibration import (
    CALIBRATION,
    Calibration,
    CalibrationInvalid,
    calibrate,
    confidence_of,
    fit_temperature,
    read_calibration,
)
from student.classification.config import StudentConfig
from student.classification.examples import TeacherAnswers
from student.classification.training import train
from student.core.files import write_json
from tests.student.damage import flipped


def logits_of(odds: float, right: int, wrong: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two classes; every image is given class 0 with these log-odds."""
    logits = torch.tensor([odds, 0.0]).repeat(right + wrong, 1)
    return logits, torch.tensor([0] * right + [1] * wrong)


def test_a_temperature_makes_probabilities_as_high_as_the_share_that_is_right() -> None:
    logits, labels = logits_of(8.0, right=900, wrong=100)
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(8.0 / math.log(9), rel=0.01)
    confidence, correct = confidence_of(logits / temperature, labels)
    assert confidence.mean().item() == pytest.approx(correct.mean().item(), abs=0.01)


@pytest.mark.parametrize("images", [1, 20])
def test_few_images_without_an_error_give_no_extreme_temperature(images: int) -> None:
    logits, labels = logits_of(2.0, right=images, wrong=0)
    assert 0.3 < fit_temperature(logits, labels) < 1.0


def calibration(confidences: list[float], correct: list[int]) -> Calibration:
    return Calibration(
        dataset="colours", split="val", images=len(correct), weights="0", temperature=1.0, ece_before=0.0,
        ece_after=0.0, confidences=tuple(confidences), correct=tuple(correct),
    )  # fmt: skip


def test_the_threshold_is_the_lowest_with_the_wanted_precision() -> None:
    found = calibration([0.9] * 10 + [0.8] * 10 + [0.7] * 10, [1] * 10 + [1] * 8 + [0] * 2 + [1, 0] * 5)
    assert found.threshold_for(1.0) == 0.9
    assert found.threshold_for(0.9) == 0.8  # 18 of 20
    assert found.threshold_for(0.7) == 0.7  # 23 of 30
    assert found.accepted(0.8) == (20, 0.9)


def test_a_threshold_does_not_separate_equal_confidences() -> None:
    with pytest.raises(CalibrationInvalid, match=r"100 % is not reached .* the highest is 90\.9 %"):
        calibration([0.9] * 11, [1] * 10 + [0]).threshold_for(1.0)


def test_too_few_images_have_no_precision() -> None:
    with pytest.raises(CalibrationInvalid, match="not reached by 10 or more of the 9 calibration images; ask for less"):
        calibration([0.9] * 9, [1] * 9).threshold_for(0.5)


def test_both_errors_are_those_of_the_probabilities() -> None:
    logits, labels = logits_of(8.0, right=900, wrong=100)
    found = calibrate(logits, labels, dataset="colours", split="val", weights="0")
    assert found.ece_before == pytest.approx(1 / (1 + math.exp(-8)) - 0.9, abs=1e-4)
    assert found.ece_after < 0.01
    assert found.confidences[0] == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize("keep", ["last", "best"])
def test_training_calibrates_on_the_validation_images(
    config: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers, tmp_path: Path, keep: str
) -> None:
    run = train(config.replace(keep=keep), dataset, teacher_answers, tmp_path, progress=False)
    found = read_calibration(tmp_path)
    assert found is not None
    assert (found.dataset, found.split, found.images) == ("colours", "validation", run.val_images)
    assert sum(found.correct) / found.images == run.val_top1  # of the weights that were kept
    assert list(found.confidences) == sorted(found.confidences, reverse=True)


def test_without_validation_images_nothing_is_calibrated(
    config: StudentConfig, dataset: FileDataset, tmp_path: Path
) -> None:
    base = config.replace(method="base", val_fraction=0.0, keep="last", epochs=1, warmup=0)
    train(base, dataset, TeacherAnswers(), tmp_path, progress=False)
    assert read_calibration(tmp_path) is None


def test_a_damaged_calibration_and_one_of_other_weights_are_ignored_with_a_note(
    config: StudentConfig, dataset: FileDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = config.replace(method="base", epochs=1, warmup=0)
    train(base, dataset, TeacherAnswers(), tmp_path, progress=False)
    path = tmp_path / CALIBRATION
    whole = json.loads(path.read_text())
    flipped(0.5)(path)
    assert read_calibration(tmp_path) is None
    assert "is damaged and ignored" in capsys.readouterr().err
    del whole["field_digests"], whole["version"]
    write_json(path, whole | {"weights": "0"})
    assert read_calibration(tmp_path) is None
    assert "belongs to other weights and is ignored" in capsys.readouterr().err
