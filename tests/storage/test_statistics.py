from __future__ import annotations

import numpy as np
import pytest

from storage.statistics import (
    calibration_error,
    class_information,
    cluster_order,
    effective_rank,
    image_information,
    measure_class_information,
    surprise,
)

LABELS = ["a", "a", "b", "b"]


def information(*p_yes: float, labels: list[str] = LABELS) -> float:
    return float(class_information(np.asarray(p_yes, np.float32)[:, None], labels)[0])


def test_answers_that_follow_the_class_carry_one_bit() -> None:
    assert information(1, 1, 0, 0) == pytest.approx(1.0)


def test_answers_equal_in_every_class_have_no_information() -> None:
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


def test_the_image_decides_sure_answers_and_not_unsure_ones() -> None:
    p_yes = np.array([[1, 0.3, 0.0, 1.0], [0, 0.3, 0.0, 0.5]])
    # The last one: H(0.75) in all, of which the second image leaves half a bit undecided.
    total = -(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25))
    np.testing.assert_allclose(image_information(p_yes), [1, 0, 0, (total - 0.5) / total], atol=1e-9)


def draws(shares: np.ndarray, images: int) -> np.ndarray:
    return (np.random.default_rng(0).random((images, len(shares))) < shares).astype(np.float32)


def test_two_answers_that_tell_the_class_together_are_found() -> None:
    answers = draws(np.array([0.5, 0.5, 0.5]), 400)
    labels = [str(int(first != second)) for first, second, _ in answers]
    found = measure_class_information(answers, labels)
    assert (found.alone < 0.02).all()
    np.testing.assert_allclose(found.with_partner[:2], 1.0, atol=0.03)
    assert found.partner[:2].tolist() == [1, 0]
    assert found.with_partner[2] < 0.05
    assert found.informative(0.01)[:2].all()


def test_meaningless_answers_have_no_information_with_few_images() -> None:
    answers = draws(np.full(60, 0.5), 40)
    labels = [str(number % 10) for number in range(40)]
    biased = class_information(answers, labels)
    found = measure_class_information(answers, labels)
    assert biased.mean() > 0.1
    assert abs(found.alone.mean()) < 0.2 * biased.mean()
    # One in twenty passes for something by either measure.
    assert found.informative().mean() < 0.25


def test_a_question_alone_has_no_partner() -> None:
    found = measure_class_information(np.array([[1.0], [1.0], [0.0], [0.0]]), LABELS, shuffles=50)
    assert found.with_partner.tolist() == [-np.inf]
    assert found.alone[0] > 0.3


def test_effective_rank_counts_independent_directions() -> None:
    independent = draws(np.full(4, 0.5), 4000)
    assert effective_rank(independent) == pytest.approx(4, abs=0.02)
    copies = np.concatenate([independent, 1 - independent, np.ones((4000, 1))], axis=1)
    assert effective_rank(copies) == pytest.approx(4, abs=0.02)
    assert effective_rank(np.ones((5, 3))) == 0.0
    assert effective_rank(independent[:, :1]) == pytest.approx(1.0)


def test_calibration_is_what_the_bins_say() -> None:
    p_yes = np.array([0.9, 0.9, 0.9, 0.9, 0.1, 1.0])
    right = np.array([True, True, True, False, False, True])
    # 0.9 four times, three in four are right; 0.1 and 1.0 once.
    assert calibration_error(p_yes, right) == pytest.approx((4 * 0.15 + 0.1 + 0) / 6)
    assert calibration_error(np.array([1.0, 0.0]), np.array([True, False])) == 0


def test_surprise_is_zero_for_the_expected_answer_and_finite_for_an_impossible_one() -> None:
    found = surprise(np.array([0.3, 1.0, 0.0]), np.array([0.3, 0.25, 1.0]))
    assert found == pytest.approx([0.0, 2.0, np.log2(100)], abs=1e-9)


def test_similar_rows_are_next_to_each_other() -> None:
    values = np.array([[0.0, 0.0], [1.0, 1.0], [0.1, np.nan], [0.9, 1.0]])
    order = cluster_order(values).tolist()
    assert {frozenset(order[:2]), frozenset(order[2:])} == {frozenset({0, 2}), frozenset({1, 3})}
    assert cluster_order(values[:2]).tolist() == [0, 1]
