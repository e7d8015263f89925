from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.special import log_softmax

from storage.questions import Choice
from teacher.engines.choices import average_orders, choice_text, option_orders

COLOURS = Choice("What colour is it?", ("Red", "Blue", "Green"))


def test_every_option_stands_at_every_position_once() -> None:
    orders = option_orders(COLOURS)
    assert [choice_text(COLOURS, order).splitlines()[1:] for order in orders] == [
        ["A. Blue", "B. Green", "C. Red"],
        ["A. Green", "B. Red", "C. Blue"],
        ["A. Red", "B. Blue", "C. Green"],
    ]


@pytest.mark.parametrize("count", range(2, 10))
def test_position_bias_alone_makes_all_options_equal(count: int) -> None:
    choice = Choice("Which?", tuple("abcdefghi"[:count]))
    bias_N = np.random.default_rng(count).normal(0, 3, count)
    letters = np.broadcast_to(log_softmax(bias_N), (1, count, count))
    yes, no = average_orders(letters, option_orders(choice))
    np.testing.assert_allclose(np.exp(yes), 1 / count)
    np.testing.assert_allclose(np.exp(yes) + np.exp(no), 1)


def test_without_bias_the_average_is_what_was_said() -> None:
    said = {"Red": 0.7, "Blue": 0.2, "Green": 0.1}
    orders = option_orders(COLOURS)
    letters = np.log([[[0.5 * said[COLOURS.options[index]] for index in order] for order in orders]])
    yes, no = average_orders(letters, orders)
    np.testing.assert_allclose(np.exp(yes)[0], [0.35, 0.1, 0.05])  # half of the probability is that of other answers
    np.testing.assert_allclose(1 / (1 + np.exp(no - yes))[0], [0.7, 0.2, 0.1])


def test_the_order_in_the_file_does_not_matter() -> None:
    """The same prompts are asked, so whatever the model says about them is the same."""
    first = {choice_text(COLOURS, order) for order in option_orders(COLOURS)}
    for options in itertools.permutations(COLOURS.options):
        permuted = Choice(COLOURS.text, options)
        assert {choice_text(permuted, order) for order in option_orders(permuted)} == first


def test_impossible_letters_keep_both_logarithms_finite() -> None:
    letters = np.full((1, 3, 3), -9999.0)
    letters[0, range(3), [2, 1, 0]] = 0.0
    assert all(np.isfinite(values).all() for values in average_orders(letters, option_orders(COLOURS)))
