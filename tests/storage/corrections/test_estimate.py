"""Accuracy of a teacher from a sample: unbiased, with intervals that hold the truth as often as they say."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest

from storage.corrections.estimate import effective_size, estimate_accuracy, is_right, wilson_interval
from storage.corrections.queue import Queue
from tests.conftest import PROJECT
from tests.storage.corrections.samples import answer, answers, checked, current, truth_as_corrections


def test_without_corrections_nothing_is_known() -> None:
    found = estimate_accuracy(Queue.of(answers(np.zeros((5, 3)))), current())
    assert [(one.key, one.answered, one.accuracy, one.low, one.high) for one in found] == [
        (key, 0, None, 0.0, 1.0) for key in (None, "has_stripes", "is_red", "is_outside")
    ]


def test_all_answers_give_the_accuracy_itself() -> None:
    log_odds = np.array([[3.0, -3, 3], [3, 3, -3], [3, -3, -3], [-3, 3, 3]])
    given, truth = answers(log_odds), np.array([[1, 0, 0], [1, 1, 1], [0, 0, 0], [0, 1, 1]], dtype=bool)
    queue = Queue.of(given)
    found = estimate_accuracy(queue, checked(queue, truth, 12))
    assert [one.accuracy for one in found] == pytest.approx([9 / 12, 3 / 4, 1, 2 / 4])
    assert all(one.low == one.high == one.accuracy for one in found)


@pytest.mark.parametrize("changed", [False, True])
def test_estimates_are_unbiased_and_intervals_hold_the_truth(changed: bool) -> None:
    """200 samples of 90 answers out of 1,200: an overconfident teacher who is worse on one question."""
    generator = np.random.default_rng(1)
    truth = generator.random((400, 3)) < np.array([0.5, 0.2, 0.7])
    rightness = generator.random((400, 3)) < np.array([0.95, 0.85, 0.65])
    log_odds = np.where(truth == rightness, 1, -1) * generator.uniform(0.2, 8, (400, 3))
    given = answers(log_odds)
    wanted = [rightness.mean(), *rightness.mean(axis=0)]
    queues = [Queue.of(given)]
    if changed:  # a student that knows the truth changes the order after 45 answers
        queues.append(Queue.of(given, np.where(truth, 0.9, 0.1)))
    wrong = np.flatnonzero(~rightness)
    estimates, inside = [], []
    for _ in range(200):
        known = current()
        for queue in queues:
            drawn = dataclasses.replace(queue, draws=generator.uniform(size=(400, 3)))
            known = checked(drawn, truth, 90 // len(queues), known)
            if changed:  # people find wrong answers elsewhere
                elsewhere = truth_as_corrections(given, truth, generator.choice(wrong, 10, replace=False))
                known = dataclasses.replace(known, answers={**elsewhere.answers, **known.answers})
        found = estimate_accuracy(queue, known)
        assert found[0].answered == 90
        estimates.append([one.accuracy for one in found])
        inside.append([one.low <= right <= one.high for one, right in zip(found, wanted, strict=True)])
    bias = np.array(estimates, dtype=float).mean(axis=0) - wanted
    assert abs(bias).max() < 0.015
    assert (np.array(inside).mean(axis=0) >= 0.9).all()


def test_unsure_answers_are_counted_apart() -> None:
    given = answers(np.random.default_rng(0).normal(0, 3, (20, 3)))
    queue = Queue.of(given)
    drawn = checked(queue, np.ones((20, 3), bool), 6)
    unsure = {key: dataclasses.replace(row, value=None) for key, row in list(drawn.answers.items())[4:]}
    found = estimate_accuracy(queue, dataclasses.replace(drawn, answers={**drawn.answers, **unsure}))
    assert (found[0].answered, found[0].unsure) == (4, 2)


def test_corrections_that_people_chose_estimate_nothing_by_themselves() -> None:
    given = answers(np.full((20, 3), 3.0))
    queue = Queue.of(given)
    last = queue.next_items(current(), 60)[-1]
    wrong = answer(last.image_id, "no", last.key)
    assert estimate_accuracy(queue, current(wrong))[0].accuracy is None
    with_draws = estimate_accuracy(queue, checked(queue, np.ones((20, 3), bool), 5, current(wrong)))
    assert with_draws[0].answered == 5
    assert with_draws[0].accuracy == pytest.approx(59 / 60, abs=0.01)


def test_one_half_is_neither_right_nor_wrong() -> None:
    right = is_right(np.array([0.5, 0.9, 0.2, 0.9]), np.array([1.0, 1, 0, 0]))
    assert right.tolist() == [0.5, 1, 1, 0]


def test_the_interval_of_wilson() -> None:
    # Of 10 of 10: Wilson's lower limit is n / (n + z^2).
    assert wilson_interval(1.0, 10) == pytest.approx((10 / (10 + 1.959964**2), 1.0))
    low, high = wilson_interval(0.5, 100)
    assert (low, high) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert effective_size(np.array([2.0, 2, 2])) == pytest.approx(3)
    assert effective_size(np.array([1.0, 3])) == pytest.approx(1.6)


def test_scipy_stats_is_not_imported() -> None:
    code = "import sys, storage.corrections.estimate; print('scipy.stats' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=os.environ, capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
