"""Multiple-choice questions: their options in several orders, and the average over the orders.

A language model prefers some letters whatever stands behind them. Every option is therefore shown at every position
once: a question with n options is asked in n orders, the cyclic shifts of its options sorted by their text. The
probabilities of an option are averaged over the orders. Sorting makes the answers independent of the order in the file.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from storage.questions import Choice

LETTERS = "ABCDEFGHI"
# Probabilities are clipped to this distance from 0 and 1, so that both logarithms stay finite.
SMALLEST = 1e-7


def option_orders(choice: Choice) -> list[tuple[int, ...]]:
    """Return the orders in which the options are shown, each as indices of `choice.options`."""
    order = sorted(range(len(choice.options)), key=lambda index: choice.options[index])
    return [(*order[shift:], *order[:shift]) for shift in range(len(order))]


def choice_text(choice: Choice, order: Sequence[int]) -> str:
    """Return the question and its options, one on each line behind its letter."""
    options = [f"{letter}. {choice.options[index]}" for letter, index in zip(LETTERS, order, strict=False)]
    return "\n".join([choice.text, *options])


def average_orders(
    letters_XSN: NDArray[np.float64], orders: Sequence[Sequence[int]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return yes and no [X, N] for each option, from log-probabilities (nats) of the N letters in each of S orders.

    p(option) is the mean of its probability among the letters. yes = log p + m and no = log(1 - p) + m, where m is the
    logarithm of the mean probability of all letters together: sigmoid(yes - no) is p(option), and the rest of the
    probability is that of other answers, as for a yes/no question.
    """
    mass_XS = np.logaddexp.reduce(letters_XSN, axis=-1)
    shown_XSN = np.exp(letters_XSN - mass_XS[..., None])
    # [S, N]: the letter of each option.
    places = np.argsort(np.array(orders), axis=-1)
    p_XN = np.take_along_axis(shown_XSN, places[None], axis=-1).mean(axis=1).clip(SMALLEST, 1 - SMALLEST)
    mass_X1 = (np.logaddexp.reduce(mass_XS, axis=-1) - np.log(len(orders)))[:, None]
    return np.log(p_XN) + mass_X1, np.log1p(-p_XN) + mass_X1
