"""Calibrate a teacher's p(yes) question by question from the corrected sample of a queue."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from storage.answers.read import Answers
from storage.corrections.current import CurrentCorrections
from storage.corrections.estimate import effective_size
from storage.corrections.queue import Queue

# Standard deviations of the normal priors: of all questions together around the identity, and of each question around
# them all. With few corrections a question keeps what is true of all.
SHARED_SPREAD = (1.0, 2.0)  # of the slope's logarithm, of the offset
QUESTION_SPREAD = (0.5, 1.0)
SUREST = 10.0  # log-odds beyond it reflect the number format of the answer more than the image


@dataclass(frozen=True, kw_only=True)
class PlattCalibration:
    """Calibrated log-odds of yes are `slopes` * log-odds + `offsets`, each [Q], the slopes above 0: the order of a
    question's images stays. `corrected` is the number of answers that it was fitted to."""

    slopes: NDArray[np.float64]
    offsets: NDArray[np.float64]
    corrected: int

    def log_odds(self, log_odds: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return calibrated log-odds for log-odds [..., Q] in nats."""
        return self.slopes * np.clip(log_odds, -SUREST, SUREST) + self.offsets

    def apply(self, answers: Answers) -> Answers:
        """Return the answers with calibrated p(yes). Yes and no together get probability 1."""
        log_odds = self.log_odds(answers.yes - answers.no)
        return replace(answers, yes=log_expit(log_odds).astype(np.float32), no=log_expit(-log_odds).astype(np.float32))


def fit_calibration(queue: Queue, current: CurrentCorrections) -> PlattCalibration:
    """Fit slope and offset of each question (Platt, 1999) with normal priors, by the weighted likelihood of the sample:
    corrections that people chose themselves are mostly of wrong answers, and would make every answer look wrong."""
    sample = queue.sample(current)
    decided = ~np.isnan(sample.yes)
    rows, columns, yes = sample.rows[decided], sample.columns[decided], sample.yes[decided]
    log_odds = (queue.answers.yes - queue.answers.no)[rows, columns].clip(-SUREST, SUREST).astype(np.float64)
    weights = 1 / sample.probability[decided]
    questions = len(queue.answers.questions)
    shared = _fit(log_odds, yes, weights, (0.0, 0.0), SHARED_SPREAD)
    fits = []
    for column in range(questions):
        mine = columns == column
        fits.append(_fit(log_odds[mine], yes[mine], weights[mine], shared, QUESTION_SPREAD))
    found = np.array(fits).reshape(questions, 2)
    return PlattCalibration(slopes=np.exp(found[:, 0]), offsets=found[:, 1], corrected=int(decided.sum()))


def _fit(
    log_odds: NDArray[np.float64],
    yes: NDArray[np.float64],
    weights: NDArray[np.float64],
    centre: tuple[float, float],
    spread: tuple[float, float],
) -> tuple[float, float]:
    """Return the logarithm of the slope and the offset with the highest posterior; `centre` without answers."""
    if len(yes) == 0:
        return centre
    shares = weights * (effective_size(weights) / weights.sum())
    signs = 2 * yes - 1

    def cost(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        slope = np.exp(values[0])
        margins = signs * (slope * log_odds + values[1])
        pull = (values - centre) / spread
        slopes = -shares * signs * expit(-margins)  # of the loss by the log-odds
        gradient = np.array([(slopes * slope * log_odds).sum(), slopes.sum()]) + pull / spread
        return -float((shares * log_expit(margins)).sum()) + float(pull @ pull) / 2, gradient

    bounds = [(centre[0] - 4 * spread[0], centre[0] + 4 * spread[0]), (None, None)]
    found = minimize(cost, np.array(centre), jac=True, bounds=bounds, method="L-BFGS-B").x
    return float(found[0]), float(found[1])
