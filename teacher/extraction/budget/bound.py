"""An upper bound on the mean error of pairs that were not asked, from a random sample of them that was."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
LARGEST_BET = 0.9
ITERATIONS = 25  # of the bisection


def upper_bound(errors: NDArray[np.floating], population: int, failure: float) -> float:
    """Return a value that the mean of a population exceeds with a probability of at most `failure`.

    `errors` [n] within 0 .. 1 are drawn uniformly without replacement from the `population`, in random order. By
    betting (Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS B 2024, sections 4
    and 5.1): were the mean m, the drawn i-th error would have the expectation

        m_i = (N m - sum of the errors before it) / (N - i + 1),

    and the capital  K_n(m) = product over i of 1 + b_i (m_i - x_i)  of bets b_i fixed before x_i would be at least
    1 / failure with a probability of at most `failure` (Ville's inequality). The bound is the largest m whose capital
    stays below. The bets are the authors' predictable ones, sqrt(2 log(1 / failure) / (n v_i)) with the running
    variance v_i, capped below 1. 1 without errors.
    """
    count = len(errors)
    if count == 0:
        return 1.0
    values = errors.astype(np.float64)
    order = np.arange(count)
    before = np.concatenate([[0.0], np.cumsum(values)[:-1]])
    running = (0.5 + np.cumsum(values)) / (order + 2)
    variance = (0.25 + np.cumsum((values - running) ** 2)) / (order + 2)
    variance = np.concatenate([[0.25], variance[:-1]])
    bets = np.minimum(np.sqrt(2 * np.log(1 / failure) / (count * variance)), LARGEST_BET)

    def refuted(mean: float) -> bool:
        expected = (population * mean - before) / np.maximum(population - order, 1)
        if (expected > 1).any():  # the rest of the population would have errors above 1
            return True
        if (expected < 0).any():  # the errors drawn so far are more than the whole sum
            return False
        capital = np.cumsum(np.log1p(bets * (expected - values)))
        return bool(capital.max() >= np.log(1 / failure))

    low, high = 0.0, 1.0
    if not refuted(high):
        return 1.0
    for _ in range(ITERATIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if refuted(middle) else (middle, high)
    return high


def bound_rest(errors: NDArray[np.floating], population: int, failure: float) -> float:
    """Return the upper bound for the part of the population that was not drawn; 0 if all of it was."""
    rest = population - len(errors)
    if rest == 0:
        return 0.0
    total = population * upper_bound(errors, population, failure)
    return float(min(1.0, (total - errors.sum(dtype=np.float64)) / rest))


def failure_of_look(number: int, confidence: float = CONFIDENCE) -> float:
    """Return the share of 1 - `confidence` for bound number 1, 2, ...: all bounds together hold with `confidence`.

    1 / (n (n + 1)) sums to 1 over all n.
    """
    return (1 - confidence) / (number * (number + 1))
