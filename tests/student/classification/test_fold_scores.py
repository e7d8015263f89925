import numpy as np
import pytest

from student.classification.fold_scores import score_folds
from student.classification.out_of_fold import OutOfFold


def students(predicted: list[int], unread: int | None = None) -> OutOfFold:
    log_p = np.log(np.eye(3, dtype=np.float32)[predicted] * 0.9 + 0.03)
    if unread is not None:
        log_p[unread] = np.nan
    return OutOfFold(
        image_ids=("a", "b", "c", "d"),
        class_names=("x", "y", "z"),
        log_p_NC=log_p,
        folds_N=np.array([0, 1, 0, -1]),
        identity="{}",
    )


def test_the_confusion_matrix_and_each_image_are_scored_over_seeds() -> None:
    found = score_folds([students([0, 1, 2, 0]), students([0, 2, 2, 0])], {"a": 0, "b": 1, "c": 0})
    assert found.image_ids == ("a", "b", "c")
    assert found.correct.tolist() == [1.0, 0.5, 0.0]
    assert found.top1 == pytest.approx(0.5)
    assert found.top1_error == pytest.approx(0.5 / np.sqrt(3))
    assert found.matrix.tolist() == [[2, 0, 2], [0, 1, 1], [0, 0, 0]]


def test_images_that_one_student_could_not_read_are_left_out() -> None:
    found = score_folds([students([0, 1, 2, 0]), students([0, 1, 2, 0], unread=1)], {"a": 0, "b": 1, "c": 0})
    assert found.image_ids == ("a", "c")


def test_the_accuracy_of_a_single_image_has_no_error() -> None:
    assert score_folds([students([0, 1, 2, 0])], {"a": 0}).top1_error is None
