from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from storage.answers.read import Answers
from storage.datasets import FileDataset
from student.classification.calibration import CalibrationInvalid, read_calibration
from student.classification.config import StudentConfig
from student.classification.confused_classes import ClassMeans, most_confused
from student.classification.confusion import (
    confusion_matrix,
    macro,
    reliability,
    score_classes,
    write_confusion,
)
from student.classification.evaluate import Evaluation, evaluate, read_evaluation
from student.classification.examples import TeacherAnswers
from student.classification.plots import plot_reliability
from student.classification.training import train
from student.core.aspects import Aspect
from tests.student.damage import without

NAMES = ("a", "b", "c")
# a: 2 right, 1 as b; b: 1 right, 2 as a; c: none.
MATRIX = confusion_matrix(torch.eye(3)[[0, 0, 1, 1, 0, 0]], torch.tensor([0, 0, 0, 1, 1, 1]))


def test_rows_are_labels_and_columns_predictions() -> None:
    assert MATRIX.tolist() == [[2, 1, 0], [2, 1, 0], [0, 0, 0]]


def test_precision_recall_and_f1_of_each_class() -> None:
    scores = score_classes(MATRIX, NAMES)
    assert [(score.images, score.top1) for score in scores] == [(3, 2 / 3), (3, 1 / 3), (0, None)]
    assert [score.precision for score in scores] == [0.5, 0.5, None]
    assert [score.f1 for score in scores] == [pytest.approx(4 / 7), pytest.approx(2 / 5), None]
    assert macro(scores, "precision") == 0.5
    assert macro(scores, "f1") == pytest.approx((4 / 7 + 2 / 5) / 2)


def test_a_class_that_is_never_predicted_counts_as_0() -> None:
    scores = score_classes(np.array([[2, 0], [2, 0]]), ("a", "b"))
    assert (scores[1].precision, scores[1].f1) == (None, 0.0)
    assert macro(scores, "precision") == 0.25


def test_the_file_has_a_row_and_a_column_for_each_class(tmp_path: Path) -> None:
    write_confusion(tmp_path, "test", MATRIX, ("a", "b, or c", "class"))
    assert (tmp_path / "confusion-test.csv").read_text() == (
        'class,a,"b, or c",class\na,2,1,0\n"b, or c",2,1,0\nclass,0,0,0\n'
    )


def test_pairs_name_the_question_whose_means_differ_most() -> None:
    aspects = [Aspect(key="x", text="Is it x?"), Aspect(key="y", text="Is it y?")]
    p_yes = torch.tensor([[0.9, 0.5], [0.7, 0.5], [0.1, 0.6], [0.1, 0.4]])
    means = ClassMeans.of_student(p_yes, torch.tensor([0, 0, 1, 1]), aspects, 3)
    (pair,) = most_confused(MATRIX, NAMES, means)
    assert (pair.first, pair.second, pair.first_as_second, pair.second_as_first, pair.images) == ("a", "b", 1, 2, 3)
    assert pair.question is not None
    assert (pair.question.key, pair.question.text, pair.question.source) == ("x", "Is it x?", "student")
    assert [pair.question.first, pair.question.second] == pytest.approx([0.8, 0.1])
    assert means.between(0, 2) is None  # nothing is known about c
    assert most_confused(MATRIX, NAMES, None)[0].question is None


def test_the_worst_pair_comes_first() -> None:
    matrix = np.array([[5, 1, 0], [0, 5, 2], [0, 1, 5]])
    assert [(pair.first, pair.second, pair.images) for pair in most_confused(matrix, NAMES, None)] == [
        ("b", "c", 3), ("a", "b", 1)
    ]  # fmt: skip


def test_reliability_is_the_gap_between_probability_and_accuracy() -> None:
    logits = torch.tensor([[0.0, 0.0]]).repeat(4, 1) + torch.tensor([0.2, 0.0])
    found = reliability(logits, torch.tensor([0, 0, 0, 1]))
    (only,) = found.bins
    confidence = 1 / (1 + np.exp(-0.2))
    assert (only.images, only.accuracy) == (4, 0.75)
    assert only.confidence == pytest.approx(confidence, abs=1e-5)
    assert found.ece == pytest.approx(0.75 - confidence, abs=1e-5)


def test_an_evaluation_has_confusions_and_calibrates(
    config: StudentConfig, dataset: FileDataset, answers: Answers, teacher_answers: TeacherAnswers, tmp_path: Path
) -> None:
    train(config.replace(epochs=1, warmup=0), dataset, teacher_answers, tmp_path, progress=False)
    before = read_calibration(tmp_path)
    assert before is not None
    scores = evaluate(tmp_path, dataset, answers, calibrate=True)
    after = read_calibration(tmp_path)
    assert after is not None
    assert (after.split, after.images) == ("test", 12)
    assert scores.calibrated is not None
    assert scores.calibrated.temperature == after.temperature
    assert scores.calibrated.ece == pytest.approx(after.ece_after, abs=1e-5)
    matrix = pl.read_csv(tmp_path / "confusion-test.csv")
    assert matrix.columns == ["class", "blue", "green", "red"]
    assert matrix.drop("class").to_numpy().sum() == 12
    assert matrix.drop("class").to_numpy().trace() / 12 == pytest.approx(scores.top1)
    assert all(pair.question is not None and pair.question.source == "answers" for pair in scores.confused)
    assert Evaluation.from_dict(json.loads(json.dumps(scores.to_dict()))) == scores
    plot_reliability(scores, tmp_path / "reliability-test.png")
    assert (tmp_path / "reliability-test.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(CalibrationInvalid, match="split 'train' is trained on; calibrate on a held-out one"):
        evaluate(tmp_path, dataset, split="train", calibrate=True)
    for field in ("reliability", "calibrated", "confused", "macro_f1", "macro_precision", "field_digests"):
        without(field)(tmp_path / "evaluation-test.json")
    older = read_evaluation(tmp_path, "test")
    assert older is not None
    assert (older.top1, older.confused, older.reliability) == (scores.top1, (), None)
