"""Predict p(yes) of pairs that were not asked from those that were.

Factor analysis with missing values: the log-odds of yes about image i and question q are

    x_iq = m_q + c_kq + w_q . z_i + e_iq,   z_i ~ N(a_k, I),   e_iq ~ N(0, s_q)

for an image of class k. The factors z_i hold what questions have in common, c_kq and a_k are effects of the class with
mean 0 and variances estimated from the data, and the noise differs between questions. Fitted by expectation
maximisation (Rubin and Thayer, Psychometrika 1982) with ridge terms, and class effects updated in turn.

I images, Q questions, C classes, K factors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from storage.statistics import sigmoid

Floats = NDArray[np.float64]

FACTORS = 8
ROUNDS = 30  # of expectation maximisation
FITTED_IMAGES = 20_000  # at most: more hardly change the fit
AT_ONCE = 20_000  # images predicted at once
LEAST_NOISE = 1e-4
PRIOR_ANSWERS = 4.0  # a question's noise variance counts as if so many answers had the mean noise of all questions
RIDGE = 1.0
SUREST = 6.0  # log-odds beyond are taken as this: they hardly change p(yes)


@dataclass(frozen=True, kw_only=True)
class AnswerModel:
    """A fitted model; `means` [Q], `weights` [Q, K] and `noise` [Q] as above.

    `class_effects` [C, Q] are posterior means with variances `class_variance` [C, Q], `class_factors` [C, K] means of
    factors. Images of an unknown class (-1) have class effects of 0. `slopes` [Q] are the mean changes of p(yes)
    by log-odds.
    """

    means: Floats
    weights: Floats
    noise: Floats
    class_effects: Floats
    class_variance: Floats
    class_factors: Floats
    unknown_variance: Floats  # [Q] of the effects of an unknown class
    slopes: Floats

    def predict(self, p_yes: NDArray[np.floating], labels: NDArray[np.integer]) -> NDArray[np.float32]:
        """Return the expected p(yes), float32 [I, Q] within 0 .. 1, given the known values in `p_yes` [I, Q], NaN where
        unknown, and the `labels` [I]."""
        found = np.empty(p_yes.shape, np.float32)
        for start in range(0, len(p_yes), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            base, prior = self._of_classes(labels[rows])
            factors, _ = posterior(log_odds(p_yes[rows]) - base, self.weights, self.noise, prior)
            found[rows] = sigmoid(base + factors @ self.weights.T)
        return found

    def covariance(self) -> Floats:
        """Return the covariance [Q, Q] of p(yes) of an image of which no answer is known, to first order."""
        variance = self.class_variance.mean(axis=0) if len(self.class_variance) else self.unknown_variance
        return np.outer(self.slopes, self.slopes) * (self.weights @ self.weights.T + np.diag(self.noise + variance))

    def _of_classes(self, labels: NDArray[np.integer]) -> tuple[Floats, Floats]:
        """Return the expected answers without factors [I, Q], and the expected factors [I, K]."""
        known = labels >= 0
        base = np.tile(self.means, (len(labels), 1))
        prior = np.zeros((len(labels), self.weights.shape[1]))
        base[known] += self.class_effects[labels[known]]
        prior[known] = self.class_factors[labels[known]]
        return base, prior


def fit_model(
    p_yes: NDArray[np.floating], labels: NDArray[np.integer], classes: int, *, factors: int = FACTORS
) -> AnswerModel:
    """Fit the model to `p_yes` [I, Q], NaN where unknown, of images with `labels` [I], -1 where unknown.

    At least one value of each question has to be known. Of more than FITTED_IMAGES images with a known value, those are
    used that have the most.
    """
    known = np.count_nonzero(~np.isnan(p_yes), axis=1)
    used = np.sort(np.argsort(-known, kind="stable")[: min(int((known > 0).sum()), FITTED_IMAGES)])
    values, labels = log_odds(p_yes[used]), labels[used]
    factors = max(1, min(factors, values.shape[1] - 1, len(values) - 1))
    return _Fit(values, labels, classes, factors).run()


def log_odds(p_yes: NDArray[np.floating]) -> Floats:
    """Return the log-odds of p(yes), from -SUREST to SUREST; NaN stays NaN."""
    least = 1 / (1 + np.exp(SUREST))
    inside = np.clip(p_yes.astype(np.float64), least, 1 - least)
    found: Floats = np.log(inside) - np.log1p(-inside)
    return found


class _Fit:
    """The state of expectation maximisation."""

    def __init__(self, values: Floats, labels: NDArray[np.integer], classes: int, factors: int) -> None:
        self.mask = ~np.isnan(values)
        self.values, self.counts = np.nan_to_num(values), self.mask.sum(axis=0)
        self.labels, self.known = labels, labels >= 0
        self.classes, images = classes, len(values)
        self.class_counts = self._by_class(self.mask.astype(np.float64))
        self.class_images = np.bincount(labels[self.known], minlength=classes)[:, None].astype(np.float64)
        questions = values.shape[1]
        slopes = np.where(self.mask, 0.25 / np.cosh(0.5 * self.values) ** 2, 0.0)
        self.slopes = slopes.sum(axis=0) / np.maximum(self.counts, 1)
        self.means = self.values.sum(axis=0) / np.maximum(self.counts, 1)
        variance = np.where(self.mask, (self.values - self.means) ** 2, 0.0).sum(axis=0) / np.maximum(self.counts, 1)
        self.noise = np.maximum(variance / 2, LEAST_NOISE)
        self.class_variance = np.maximum(variance / 4, LEAST_NOISE)
        self.factor_variance = 1.0
        self.class_effects, self.class_factors = np.zeros((classes, questions)), np.zeros((classes, factors))
        centred = np.where(self.mask, self.values - self.means, 0.0)
        _, singular, directions = np.linalg.svd(centred, full_matrices=False)
        self.weights = directions[:factors].T * singular[:factors] / np.sqrt(images)
        self.own_variance = np.zeros((classes, questions))

    def run(self) -> AnswerModel:
        for _ in range(ROUNDS):
            self._update()
        return AnswerModel(
            means=self.means,
            weights=self.weights,
            noise=self.noise,
            class_effects=self.class_effects,
            class_variance=self.own_variance,
            class_factors=self.class_factors,
            unknown_variance=self.class_variance if self.classes else np.zeros_like(self.means),
            slopes=self.slopes,
        )

    def _update(self) -> None:
        effects = self._of_images(self.class_effects)
        base = np.where(self.mask, self.values - self.means - effects, np.nan)
        z, spread = posterior(base, self.weights, self.noise, self._of_images(self.class_factors))
        self._update_weights(z, spread, effects)
        self._update_classes(z)

    def _update_weights(self, z: Floats, spread: Floats, effects: Floats) -> None:
        """Regress each question on the factors and a constant; then update its noise."""
        extended = np.concatenate([z, np.ones((len(z), 1))], axis=1)
        size = extended.shape[1]
        outer = extended[:, :, None] * extended[:, None, :]
        outer[:, :-1, :-1] += spread
        products = (self.mask.T.astype(np.float64) @ outer.reshape(len(z), -1)).reshape(-1, size, size)
        target = np.where(self.mask, self.values - effects, 0.0)
        ridge = RIDGE * np.eye(size)
        ridge[-1, -1] = 1e-9
        solved = np.linalg.solve(products + ridge, (target.T @ extended)[:, :, None])[:, :, 0]
        self.weights, self.means = solved[:, :-1], solved[:, -1]
        error = np.where(self.mask, target - self.means - z @ self.weights.T, 0.0)
        unsure = np.einsum("qk,qkl,ql->q", self.weights, self._summed(spread), self.weights)
        sums = (error**2).sum(axis=0) + unsure
        typical = sums.sum() / max(1, self.counts.sum())
        self.noise = np.maximum((sums + PRIOR_ANSWERS * typical) / (self.counts + PRIOR_ANSWERS), LEAST_NOISE)

    def _update_classes(self, z: Floats) -> None:
        """Update the effects of the classes: means shrunk towards 0 by their estimated variance."""
        if self.classes == 0:
            return
        rest = np.where(self.mask, self.values - self.means - z @ self.weights.T, 0.0)
        precision = self.class_counts / self.noise + 1 / self.class_variance
        self.class_effects = self._by_class(rest) / self.noise / precision
        self.own_variance = 1 / precision
        self.class_variance = np.maximum((self.class_effects**2 + self.own_variance).mean(axis=0), LEAST_NOISE)
        precision = self.class_images + 1 / self.factor_variance
        self.class_factors = self._by_class(z) / precision
        self.factor_variance = float(max((self.class_factors**2 + 1 / precision).mean(), 1e-3))

    def _summed(self, spread: Floats) -> Floats:
        """Return the sum of the factors' covariance [I, K, K] over each question's answers, [Q, K, K]."""
        size = spread.shape[1]
        return (self.mask.T.astype(np.float64) @ spread.reshape(len(spread), -1)).reshape(-1, size, size)

    def _by_class(self, rows: Floats) -> Floats:
        """Return the sum of the `rows` [I, N] of each class, [C, N]."""
        sums = np.zeros((self.classes, rows.shape[1]))
        np.add.at(sums, self.labels[self.known], rows[self.known])
        return sums

    def _of_images(self, effects: Floats) -> Floats:
        """Return each image's row of `effects` [C, N]; 0 for an unknown class."""
        rows = np.zeros((len(self.labels), effects.shape[1]))
        rows[self.known] = effects[self.labels[self.known]]
        return rows


def posterior(rest: Floats, weights: Floats, noise: Floats, prior: Floats) -> tuple[Floats, Floats]:
    """Return mean [I, K] and covariance [I, K, K] of the factors, given `rest` [I, Q] = weights . z + noise, NaN where
    unknown, and their `prior` mean [I, K]."""
    size = weights.shape[1]
    known = ~np.isnan(rest)
    scaled = weights / noise[:, None]
    outer = (scaled[:, :, None] * weights[:, None, :]).reshape(len(weights), -1)
    precision = (known.astype(np.float64) @ outer).reshape(-1, size, size) + np.eye(size)
    spread: Floats = np.linalg.inv(precision).astype(np.float64)
    target = prior + np.where(known, rest, 0.0) @ scaled
    return np.einsum("ikl,il->ik", spread, target), spread
