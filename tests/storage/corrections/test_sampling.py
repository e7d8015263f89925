"""Weights of checked answers: unbiased for any order of drawing, and those of earlier releases."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from storage.corrections import current_corrections
from storage.corrections.queue import Queue
from storage.corrections.sampling import draw_weights
from storage.corrections.weights import answer_weights, expected_errors, uniform_draws
from tests.storage.corrections.samples import answer, answers, current, truth_as_corrections

LOG_ODDS = np.random.default_rng(0).normal(0, 3, (40, 3))


@pytest.mark.parametrize("draws", [1, 2, 3, 4])
def test_weighted_sums_are_unbiased(draws: int) -> None:
    """All orders of drawing from four answers; after the first draw the fourth one has twice the weight."""
    values, expected = np.array([1.0, 5, 2, 7]), 0.0
    for order in itertools.permutations(range(4), draws):
        left, probability = [0, 1, 2, 3], []
        for step, place in enumerate(order):
            weights = np.array([1.0, 2, 3, 4 if step == 0 else 8])
            probability.append(weights[place] / weights[left].sum())
            left.remove(place)
        found = draw_weights(np.array(probability), np.array([4.0, 3.0, 2.0, 1.0])[:draws])
        expected += math.prod(probability) * float(found @ values[list(order)])
    assert expected == pytest.approx(values.sum())


def test_answers_that_are_known_without_a_draw_count_as_themselves() -> None:
    """Three answers, of which one is known before one of the others is drawn."""
    found = draw_weights(np.array([np.nan, 0.25]), np.array([0.0, 2.0]))
    np.testing.assert_allclose(found, [1, 4])
    np.testing.assert_array_equal(draw_weights(np.array([0.25, np.nan]), np.array([2.0, 0.0])), [4, 0])


def test_all_answers_have_weight_one() -> None:
    found = draw_weights(np.array([0.1, 0.7, 1.0]), np.array([3.0, 2.0, 1.0]))
    np.testing.assert_allclose(found, 1)
    assert len(draw_weights(np.zeros(0), np.zeros(0))) == 0


def test_corrections_of_earlier_releases_are_a_priority_sample() -> None:
    given = answers(LOG_ODDS)
    queue, truth = Queue.of(given), np.ones(LOG_ODDS.shape, dtype=bool)
    weights = answer_weights(given, expected_errors(given)).ravel()
    priorities = weights / uniform_draws(given.image_ids, given.questions.texts).ravel()
    order = np.argsort(-priorities)
    found = queue.sample(truth_as_corrections(given, truth, [*order[12:20], *order[:10]]))
    np.testing.assert_array_equal((found.rows * 3 + found.columns)[:10], order[:10])
    np.testing.assert_array_equal(found.drawn, [True] * 10 + [False] * 8)
    expected = 1 / np.minimum(1, weights[order[:10]] / priorities[order[10]])
    np.testing.assert_array_equal(found.weights[:10], expected)
    everything = queue.sample(truth_as_corrections(given, truth, range(120)))
    assert (everything.weights == 1).all()
    assert everything.drawn.all()


def test_an_answer_stays_drawn_when_it_is_corrected_again() -> None:
    drawn = answer("a.png", "yes", probability=0.25, pool=9, correction="1")
    again = answer("a.png", "no", correction="2")
    found = current(drawn, again).answers["a.png", drawn.text or ""]
    assert (found.value, found.probability, found.pool) == ("no", 0.25, 9)
    undone = answer("a.png", None, undoes="1", correction="3")
    assert current_corrections([drawn, undone, again]).answers["a.png", drawn.text or ""].probability is None
