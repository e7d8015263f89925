from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from teacher.extraction.budget.choice import best_step, choose_first, choose_next, greedy
from teacher.extraction.budget.model import AnswerModel
from teacher.extraction.budget.sample import pair_numbers, spread_out

NONE = np.zeros(4, np.bool_)
# Questions 0 and 1 nearly agree, 2 is independent of them, and 3 is always answered alike.
COVARIANCE = np.array([[1.0, 0.99, 0.0, 0.0], [0.99, 1.0, 0.0, 0.0], [0.0, 0.0, 0.5, 0.0], [0.0, 0.0, 0.0, 1e-6]])


class Fixed(AnswerModel):
    """A model whose covariance is given."""

    def __init__(self, covariance: NDArray[np.float64]) -> None:
        object.__setattr__(self, "given", covariance)

    def covariance(self) -> NDArray[np.float64]:
        return self.given  # type: ignore[attr-defined]


def test_a_question_that_says_most_about_the_others_comes_first() -> None:
    order = list(greedy(COVARIANCE, NONE))
    assert [question for question, _ in order] == [0, 2, 1, 3]
    assert order[0][1] == 1.0 + (1.0 - np.sqrt(1 - 0.99**2))
    known = np.array([True, False, False, False])
    assert [question for question, _ in greedy(COVARIANCE, known)] == [2, 1, 3]


def test_more_questions_are_asked_where_seeing_an_image_costs_more() -> None:
    assert best_step(COVARIANCE, NONE, 0.0).questions.tolist() == [True, False, False, False]
    assert best_step(COVARIANCE, NONE, 5.0).questions.tolist() == [True, False, True, False]
    assert best_step(COVARIANCE, NONE, 50.0).questions.tolist() == [True, True, True, False]


def test_the_first_images_are_asked_everything_within_the_budget() -> None:
    order = np.array([2, 0, 1])
    chosen = choose_first(order, np.zeros((3, 4), np.bool_), 8)
    assert chosen.all(axis=1).tolist() == [True, False, True]
    assert choose_first(order, chosen, 1).all()  # one image at least
    assert choose_first(order, np.zeros((3, 4), np.bool_), 1)[2].all()


def test_further_pairs_stay_within_the_budget_and_follow_the_order() -> None:
    chosen = np.zeros((5, 4), np.bool_)
    chosen[0] = True
    order = np.array([0, 4, 3, 2, 1])
    found = choose_next(Fixed(COVARIANCE), chosen, order, 7, image_cost=5.0)
    assert found[0].all()
    assert found[[4, 3, 2]].tolist() == [[True, False, True, False]] * 3
    assert found.sum() - chosen.sum() == 6
    assert not found[1].any()
    # All images have been seen: what is left of each is asked.
    assert choose_next(Fixed(COVARIANCE), found | [[True, True, True, False]], order, 100, image_cost=5.0).all()


def test_every_beginning_of_the_order_has_the_same_number_of_images_of_each_class() -> None:
    labels = np.array([0] * 10 + [1] * 10 + [2] * 2)
    names = [f"{number}.png" for number in range(22)]
    order = spread_out(names, labels, "a")
    assert sorted(order) == list(range(22))
    assert np.bincount(labels[order[:6]]).tolist() == [2, 2, 2]
    assert np.bincount(labels[order[:10]]).tolist() == [4, 4, 2]
    assert order.tolist() == spread_out(names, labels, "a").tolist() != spread_out(names, labels, "b").tolist()


def test_images_without_a_label_are_spread_among_the_others() -> None:
    labels = np.array([-1] * 90 + [0] * 10)
    order = spread_out([f"{number}.png" for number in range(100)], labels, "a")
    assert 16 <= int((labels[order[:20]] == -1).sum()) <= 20


def test_the_number_of_a_pair_is_uniform_and_depends_on_its_names_alone() -> None:
    names, keys = [f"{number}.png" for number in range(500)], [f"q{number}" for number in range(40)]
    numbers = pair_numbers(names, keys, "a")
    assert abs(float((numbers < 0.1).mean()) - 0.1) < 0.01
    assert abs(float(np.corrcoef(numbers[:, 0], numbers[:, 1])[0, 1])) < 0.15
    np.testing.assert_array_equal(pair_numbers(names[7:9], keys[3:5], "a"), numbers[7:9, 3:5])
