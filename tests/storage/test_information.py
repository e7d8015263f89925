from __future__ import annotations

import numpy as np
import pytest

from storage.information import class_information

LABELS = ["a", "a", "b", "b"]


def information(*p_yes: float, labels: list[str] = LABELS) -> float:
    return float(class_information(np.asarray(p_yes, np.float32)[:, None], labels)[0])


def test_answers_that_follow_the_class_carry_one_bit() -> None:
    assert information(1, 1, 0, 0) == pytest.approx(1.0)


def test_answers_that_are_the_same_in_every_class_carry_nothing() -> None:
    assert information(1, 0, 1, 0) == pytest.approx(0.0)
    assert information(0.7, 0.7, 0.7, 0.7) == pytest.approx(0.0)


def test_unsure_answers_carry_less() -> None:
    # Per class 0.9 and 0.1: 1 bit minus the entropy of 0.9.
    assert information(0.9, 0.9, 0.1, 0.1) == pytest.approx(1 + 0.9 * np.log2(0.9) + 0.1 * np.log2(0.1), abs=1e-6)


def test_classes_count_by_their_images() -> None:
    # One of three images is yes, and the class tells which.
    third = -(1 / 3 * np.log2(1 / 3) + 2 / 3 * np.log2(2 / 3))
    assert information(1, 0, 0, labels=["a", "b", "b"]) == pytest.approx(third)


def test_missing_answers_are_left_out() -> None:
    assert information(1, np.nan, 0, 0, labels=LABELS) == pytest.approx(information(1, 0, 0, labels=["a", "b", "b"]))


def test_a_class_without_answers_does_not_count() -> None:
    assert information(1, 0, np.nan, np.nan, labels=["a", "b", "c", "c"]) == pytest.approx(1.0)


def test_a_question_without_any_answer_has_no_value() -> None:
    assert np.isnan(information(*[np.nan] * 4))
