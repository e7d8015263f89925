"""Combine what several sources say about the class, and estimate how likely each given label is wrong.

The class of an image follows p(class) ~ prod over sources s of p_s(class) ^ weight_s (a product of experts, Hinton
2002). An image of class c is labelled y with probability noise[c, y] (Dawid and Skene, Applied Statistics 1979, with
one rater). Weights and noise maximise the posterior of the given labels, in turns: the weights by their gradient, the
noise by expectation maximisation. Wrong labels therefore do not flatten the probabilities, as a temperature would that
is fitted without them.

The noise of a class is shrunk towards labels that are wrong at the same rate for all classes and evenly spread: without
that, classes that the sources confuse would be taken for classes that people confuse (docs/experiments.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax

MOST_FITTED = 10_000  # images; more do not change the weights
FIRST_SHARE = 0.05
PRIOR_IMAGES = 100  # of each class, in the prior of the noise
ROUNDS, NOISE_STEPS, WEIGHT_STEPS = 6, 3, 10
LOG_WEIGHTS = (-4.0, 4.0)

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """`log_p_NC`: log p(class) by all sources, uniform where there is none. `judged_N`: images with a label and a
    source. `wrong_N`: the probability that a judged label is wrong, NaN for others; `wrong_share` is their mean."""

    log_p_NC: Values
    judged_N: NDArray[np.bool_]
    wrong_N: Values
    weights: Mapping[str, float]

    @property
    def wrong_share(self) -> float:
        return float(self.wrong_N[self.judged_N].mean()) if self.judged_N.any() else 0.0


def pool(sources: Mapping[str, NDArray[np.floating]], labels_N: NDArray[np.int64]) -> Pooled:
    """Combine `sources`, log p(class) [N, C] each, NaN for images that one says nothing about. `labels_N` are -1 where
    there is no label."""
    known_N = has_source(sources)
    parts = [log_softmax(np.nan_to_num(log_p_NC.astype(np.float64)), axis=1) for log_p_NC in sources.values()]
    judged_N = known_N & (labels_N >= 0)
    judged = fitted = np.flatnonzero(judged_N)
    if len(fitted) > MOST_FITTED:
        fitted = np.random.default_rng(0).choice(fitted, MOST_FITTED, replace=False)
    log_weights, noise_CC = _fit([part[fitted] for part in parts], labels_N[fitted])
    log_p_NC = _combined(log_weights, parts)
    wrong_N = np.full(len(labels_N), np.nan)
    wrong_N[judged] = wrong_probability(np.exp(log_p_NC[judged]), labels_N[judged], noise_CC)
    weights = dict(zip(sources, np.exp(log_weights).tolist(), strict=True))
    return Pooled(log_p_NC=log_p_NC, judged_N=judged_N, wrong_N=wrong_N, weights=weights)


def has_source(sources: Mapping[str, NDArray[np.floating]]) -> NDArray[np.bool_]:
    """Whether any of the sources says something about an image [N]."""
    return np.asarray(np.stack([~np.isnan(log_p_NC).any(axis=1) for log_p_NC in sources.values()]).any(axis=0))


def wrong_probability(p_NC: Values, labels_N: NDArray[np.int64], noise_CC: Values) -> Values:
    """The probability [N] that a label is not the class, by Bayes: the class is c with probability p(c) before the
    label is known, and is then labelled y with probability noise[c, y]."""
    right_N = p_NC[np.arange(len(labels_N)), labels_N] * noise_CC[labels_N, labels_N]
    return 1 - right_N / (p_NC * noise_CC[:, labels_N].T).sum(axis=1)


def even_noise(share: float, classes: int) -> Values:
    """The noise [C, C] where `share` of the labels of each class is wrong, any other class as often as the next."""
    noise_CC = np.full((classes, classes), share / (classes - 1))
    np.fill_diagonal(noise_CC, 1 - share)
    return noise_CC


def _combined(log_weights: Values, parts: Sequence[Values]) -> Values:
    logits = sum(np.exp(log_weight) * part for log_weight, part in zip(log_weights, parts, strict=True))
    return log_softmax(logits, axis=1)


def _fit(parts: Sequence[Values], labels_M: NDArray[np.int64]) -> tuple[Values, Values]:
    """The log weight of each source and the noise [C, C], from log probabilities [M, C] of labelled images."""
    log_weights = np.zeros(len(parts))
    noise_CC = even_noise(FIRST_SHARE, parts[0].shape[1])
    if len(labels_M) == 0:
        return log_weights, noise_CC
    for _ in range(ROUNDS):
        log_weights = _fit_weights(log_weights, parts, noise_CC[:, labels_M].T)
        p_MC = np.exp(_combined(log_weights, parts))
        for _ in range(NOISE_STEPS):
            noise_CC = _fit_noise(p_MC, labels_M, noise_CC)
    return log_weights, noise_CC


def _fit_weights(log_weights: Values, parts: Sequence[Values], given_MC: Values) -> Values:
    """With a standard normal prior of the log weights. `given_MC` is the probability of each label, given the class."""

    def cost(log_weights: Values) -> tuple[float, Values]:
        p_MC = np.exp(_combined(log_weights, parts))
        joint_MC = p_MC * given_MC
        likelihood_M = joint_MC.sum(axis=1)
        slope_MC = joint_MC / likelihood_M[:, None] - p_MC  # of the log likelihood, by the logits
        by_weight = [
            np.exp(log_weight) * (slope_MC * part).sum() for log_weight, part in zip(log_weights, parts, strict=True)
        ]
        value = -np.log(likelihood_M).sum() + (log_weights**2).sum() / 2
        return float(value), log_weights - np.array(by_weight)

    bounds = [LOG_WEIGHTS] * len(parts)
    options = {"maxiter": WEIGHT_STEPS}
    return minimize(cost, log_weights, jac=True, bounds=bounds, method="L-BFGS-B", options=options).x


def _fit_noise(p_MC: Values, labels_M: NDArray[np.int64], noise_CC: Values) -> Values:
    """One step of expectation maximisation."""
    classes_MC = p_MC * noise_CC[:, labels_M].T
    classes_MC /= classes_MC.sum(axis=1, keepdims=True)
    share = 1 - classes_MC[np.arange(len(labels_M)), labels_M].mean()
    counts_CC = np.zeros_like(noise_CC)
    np.add.at(counts_CC.T, labels_M, classes_MC)
    counts_CC += PRIOR_IMAGES * even_noise(share, len(noise_CC))
    return counts_CC / counts_CC.sum(axis=1, keepdims=True)
