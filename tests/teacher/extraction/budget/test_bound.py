from __future__ import annotations

import numpy as np
import pytest

from teacher.extraction.budget.bound import bound_rest, failure_of_look, upper_bound

POPULATION, SAMPLE = 5000, 300


@pytest.mark.parametrize(("shape", "most"), [((0.5, 6.0), 0.035), ((5.0, 5.0), 0.05), ((0.05, 1.0), 0.04)])
def test_it_holds_as_often_as_it_says_and_is_tighter_than_hoeffdings(shape: tuple[float, float], most: float) -> None:
    random = np.random.default_rng(0)
    errors = random.beta(*shape, POPULATION)
    bounds = [upper_bound(random.permutation(errors)[:SAMPLE], POPULATION, 0.05) for _ in range(100)]
    assert np.mean(np.array(bounds) >= errors.mean()) >= 0.91  # 0.95 less two standard errors
    width = float(np.mean(bounds)) - errors.mean()
    assert width < most < np.sqrt(np.log(1 / 0.05) / (2 * SAMPLE))


def test_shares_of_wrong_answers_are_bounded_too() -> None:
    random = np.random.default_rng(0)
    wrong = (random.random(POPULATION) < 0.03).astype(float)
    bounds = [upper_bound(random.permutation(wrong)[:SAMPLE], POPULATION, 0.05) for _ in range(100)]
    assert np.mean(np.array(bounds) >= wrong.mean()) >= 0.91  # 0.95 less two standard errors


def test_nothing_drawn_says_nothing_and_all_drawn_says_everything() -> None:
    assert upper_bound(np.array([]), 100, 0.05) == 1.0
    errors = np.random.default_rng(0).random(100)
    assert upper_bound(errors, 100, 0.05) == pytest.approx(errors.mean(), abs=0.02)
    assert bound_rest(errors, 100, 0.05) == 0.0


def test_the_rest_is_bounded_by_what_the_sample_leaves() -> None:
    errors = np.zeros(50)
    assert bound_rest(errors, 100, 0.05) == pytest.approx(2 * upper_bound(errors, 100, 0.05))


def test_all_looks_together_have_one_confidence() -> None:
    assert failure_of_look(1) == pytest.approx(0.025)
    assert sum(failure_of_look(number) for number in range(1, 10_000)) == pytest.approx(0.05, abs=1e-4)
