"""The order in which answers are corrected, and the sample that it makes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from storage.corrections.queue import Queue
from storage.corrections.weights import answer_weights, expected_errors, question_shares, uniform_draws
from tests.storage.corrections.samples import answer, answers, current, dataset

LOG_ODDS = np.random.default_rng(0).normal(0, 3, (40, 3))


def test_the_order_is_that_of_exponential_clocks() -> None:
    queue = Queue.of(answers(LOG_ODDS))
    expected = np.argsort((-np.log1p(-queue.draws) / queue.weights).ravel())
    np.testing.assert_array_equal(queue.first(1000), expected)
    np.testing.assert_array_equal(queue.first(7), expected[:7])
    assert len(queue) == 120


def test_answers_come_first_as_often_as_their_probability_says() -> None:
    queue = Queue.of(answers(LOG_ODDS[:4]))
    expected = np.array([0.0] * 12)
    for item in queue.next_items(current(), 12)[:1]:
        assert item.probability == pytest.approx(queue.weights[item.row, item.column] / queue.weights.sum())
    generator, draws = np.random.default_rng(5), 20_000
    for uniform in generator.uniform(size=(draws, 4, 3)):
        expected[(-np.log1p(-uniform) / queue.weights).argmin()] += 1
    np.testing.assert_allclose(expected / draws, (queue.weights / queue.weights.sum()).ravel(), atol=0.012)


def test_draws_are_uniform_and_stay_where_images_are_added() -> None:
    ids = [f"train/a/{number}.png" for number in range(4000)]
    draws = uniform_draws(ids, ["Is it red?", "Is it big?"])
    assert ((draws > 0) & (draws <= 1)).all()
    counts = np.histogram(draws, bins=10, range=(0, 1))[0]
    assert abs(counts - 800).max() < 120
    assert abs(np.corrcoef(draws.T)[0, 1]) < 0.05
    np.testing.assert_array_equal(uniform_draws(ids[:5:-1], ["Is it big?"])[:, 0], draws[:5:-1, 1])
    assert abs(np.corrcoef(draws[:, 0], uniform_draws(ids, ["Is it red?"], "another queue")[:, 0])[0, 1]) < 0.05


def test_answers_that_contradict_their_class_are_expected_to_be_wrong() -> None:
    log_odds = np.where(np.arange(20)[:, None] % 2 == 0, 6.0, -6.0).repeat(3, axis=1)
    log_odds[0] = -6
    errors = expected_errors(answers(log_odds))
    np.testing.assert_allclose(errors[0], 0.5, atol=0.01)
    np.testing.assert_allclose(errors[1], 0.02)
    agreeing = expected_errors(answers(log_odds), np.full(log_odds.shape, 0.0))
    assert (agreeing[0] < errors[0]).all()
    with_gaps = np.where(np.arange(20)[:, None] < 1, np.nan, log_odds)
    assert np.isnan(expected_errors(answers(with_gaps))[0]).all()


def test_an_image_without_a_class_counts_by_its_own_answers() -> None:
    given = answers(np.full((4, 3), 6.0))
    unlabelled = dataclasses.replace(given, label_names=("", "", "ant", "bee"))
    np.testing.assert_allclose(expected_errors(unlabelled), 0.02)


def test_weights_are_shared_out_among_questions_and_gaps_have_none() -> None:
    given = answers(np.where(np.arange(40)[:, None] < 4, np.nan, LOG_ODDS))
    weights = answer_weights(given, expected_errors(given))
    assert (weights[:4] == 0).all()
    assert (weights[4:] > 0).all()
    np.testing.assert_allclose(weights.sum(axis=0), question_shares(given))
    np.testing.assert_allclose(question_shares(given).sum(), 1)
    assert (question_shares(given) >= 0.5 / 3 - 1e-9).all()


def test_the_next_items_skip_corrected_and_unsure_answers() -> None:
    given = answers(LOG_ODDS)
    queue = Queue.of(given)
    first = queue.next_items(current(), 5)
    assert [item.shown.rank for item in first] == [1, 2, 3, 4, 5]
    assert len({(item.image_id, item.key) for item in first}) == 5
    unsure = answer(first[1].image_id, None, first[1].key)
    rest = queue.next_items(current(unsure), 4)
    assert [item.shown.rank for item in rest] == [1, 3, 4, 5]
    item = first[0]
    # Without the unsure answer the others are drawn from a pool of one less.
    left = queue.weights.sum() - queue.weights[first[1].row, first[1].column]
    assert (first[0].pool, rest[0].pool, rest[1].pool) == (120, 119, 118)
    assert rest[0].probability == pytest.approx(item.shown.weight / left)
    assert rest[1].probability == pytest.approx(rest[1].shown.weight / (left - item.shown.weight))
    assert item.p_yes == pytest.approx(given.p_yes[item.row, item.column])
    assert (item.shown.queue, item.shown.weight) == (queue.id, queue.weights[item.row, item.column])
    assert np.isnan(queue.sample(current(answer(first[0].image_id, None, first[0].key))).yes).all()


def test_queues_of_other_answers_have_another_id() -> None:
    given = answers(LOG_ODDS)
    ids = {
        Queue.of(given).id,
        Queue.of(dataclasses.replace(given, teacher="other")).id,
        Queue.of(given, np.full(LOG_ODDS.shape, 0.5)).id,
    }
    assert len(ids) == 3
    assert Queue.of(given).next_items(current(), 0) == []
    assert len(dataset().records) == 6
