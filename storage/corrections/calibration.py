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

SPREAD = np.array([1.0, 2.0])  # of the normal priors: of the slope's logarithm, of the offset
# Factors of SPREAD for all questions together around the identity, and for each question around them all: from the
# identity to every question for itself, in the order of their freedom.
STRENGTHS = ((0.0, 0.0), (1.0, 0.0), (1.0, 0.3), (1.0, 1.0))
FOLDS = 5
SUREST = 10.0  # in the fit; log-odds beyond it reflect the number format of the answer more than the image


@dataclass(frozen=True, kw_only=True)
class PlattCalibration:
    """Calibrated log-odds of yes are `slopes` * log-odds + `offsets`, each [Q].

    Slopes are above 0, so the order of a question's images does not change. `corrected` is the number of answers in the
    fit.
    """

    slopes: NDArray[np.float64]
    offsets: NDArray[np.float64]
    corrected: int

    def apply(self, answers: Answers) -> Answers:
        """Return the answers with calibrated p(yes). Yes and no together get probability 1."""
        log_odds = self.slopes * (answers.yes - answers.no) + self.offsets
        return replace(answers, yes=log_expit(log_odds).astype(np.float32), no=log_expit(-log_odds).astype(np.float32))


def fit_calibration(queue: Queue, current: CurrentCorrections) -> PlattCalibration:
    """Fit slope and offset of each question (Platt, 1999) with normal priors, by the weighted likelihood of the sample:
    corrections that people chose themselves are mostly of wrong answers, and would make every answer look wrong.

    Of the strengths of the priors, the first one is taken whose loss in five-fold cross-validation is at most a
    standard error above the lowest (Breiman et al., Classification and Regression Trees, 1984): few corrections leave
    good answers as they are.
    """
    found = queue.sample(current)
    decided = found.drawn & ~np.isnan(found.yes)
    rows, columns = found.rows[decided], found.columns[decided]
    sample = _Sample(
        columns=columns,
        log_odds=(queue.answers.yes - queue.answers.no)[rows, columns].clip(-SUREST, SUREST).astype(np.float64),
        signs=2 * found.yes[decided] - 1,
        weights=found.weights[decided],
    )
    questions, best = len(queue.answers.questions), STRENGTHS[0]
    if len(rows) >= FOLDS:
        losses = np.stack([_held_out_losses(sample, questions, strength) for strength in STRENGTHS])
        above = losses - losses[losses.sum(axis=1).argmin()]
        error = above.std(axis=1) * np.sqrt(len(rows))
        best = STRENGTHS[int(np.argmax(above.sum(axis=1) <= error))]
    values = _fit_all(sample, questions, best)
    return PlattCalibration(slopes=np.exp(values[:, 0]), offsets=values[:, 1], corrected=len(rows))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    """S corrected answers: their questions, log-odds by the teacher, 1 for yes and -1 for no, weights."""

    columns: NDArray[np.int64]
    log_odds: NDArray[np.float64]
    signs: NDArray[np.float64]
    weights: NDArray[np.float64]

    def part(self, kept: NDArray[np.bool_]) -> _Sample:
        return _Sample(
            columns=self.columns[kept],
            log_odds=self.log_odds[kept],
            signs=self.signs[kept],
            weights=self.weights[kept],
        )


def _held_out_losses(sample: _Sample, questions: int, strength: tuple[float, float]) -> NDArray[np.float64]:
    """Return the weighted negative log-likelihood of each answer by fits to others, [S]."""
    folds = np.random.default_rng(0).permutation(len(sample.columns)) % FOLDS
    losses = np.empty(len(folds))
    for fold in range(FOLDS):
        values = _fit_all(sample.part(folds != fold), questions, strength)
        judged = sample.part(folds == fold)
        slopes, offsets = values[judged.columns].T
        margins = judged.signs * (np.exp(slopes) * judged.log_odds + offsets)
        losses[folds == fold] = -judged.weights * log_expit(margins)
    return losses


def _fit_all(sample: _Sample, questions: int, strength: tuple[float, float]) -> NDArray[np.float64]:
    """Return the logarithm of the slope and the offset of each question, [Q, 2]."""
    shared = _fit(sample, np.zeros(2), strength[0])
    fits = [_fit(sample.part(sample.columns == column), shared, strength[1]) for column in range(questions)]
    return np.stack(fits)


def _fit(sample: _Sample, centre: NDArray[np.float64], strength: float) -> NDArray[np.float64]:
    """Return the logarithm of the slope and the offset with the highest posterior; `centre` without answers."""
    if len(sample.columns) == 0 or strength == 0:
        return centre
    shares = sample.weights * (effective_size(sample.weights) / sample.weights.sum())
    spread = strength * SPREAD

    def cost(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        slope = np.exp(values[0])
        margins = sample.signs * (slope * sample.log_odds + values[1])
        pull = (values - centre) / spread
        by_log_odds = -shares * sample.signs * expit(-margins)
        gradient = np.array([(by_log_odds * slope * sample.log_odds).sum(), by_log_odds.sum()]) + pull / spread
        return -float((shares * log_expit(margins)).sum()) + float(pull @ pull) / 2, gradient

    bounds = [(centre[0] - 4 * spread[0], centre[0] + 4 * spread[0]), (None, None)]
    found: NDArray[np.float64] = minimize(cost, centre, jac=True, bounds=bounds, method="L-BFGS-B").x
    return found
