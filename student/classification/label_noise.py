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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

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
Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Source:
    """What one source says about N images. `known_N`: those that it says something about; `log_p` gives log p(class)
    [M, C] of the images in rows [M], up to a constant per row. Rows that are not known are not used."""

    known_N: NDArray[np.bool_]
    log_p: Callable[[Rows], NDArray[np.floating]]

    @classmethod
    def of(cls, log_p_NC: NDArray[np.floating]) -> Source:
        """Values of all images at once; NaN for those that the source says nothing about."""
        return cls(known_N=~np.isnan(log_p_NC).any(axis=1), log_p=lambda rows: log_p_NC[rows])

    def normalised(self, rows: Rows) -> Values:
        """log p(class) [M, C], uniform where the source says nothing."""
        found = np.where(self.known_N[rows, None], self.log_p(rows), 0.0)
        return log_softmax(found.astype(np.float64, copy=False), axis=1)


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """Sources with their weights. Values of classes are computed for the rows that are asked for: those of all images
    would take gigabytes. `judged`: images with a label and a source."""

    sources: Mapping[str, Source]
    labels_N: NDArray[np.int64]
    log_weights: Values
    noise_CC: Values

    def as_source(self) -> Source:
        return Source(known_N=self.known, log_p=self.log_p)

    @property
    def weights(self) -> Mapping[str, float]:
        return dict(zip(self.sources, np.exp(self.log_weights).tolist(), strict=True))

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """Images that any source says something about."""
        return np.logical_or.reduce([source.known_N for source in self.sources.values()])

    @cached_property
    def judged(self) -> NDArray[np.bool_]:
        return self.known & (self.labels_N >= 0)

    def log_p(self, rows: Rows) -> Values:
        """log p(class) [M, C] by all sources, uniform where there is none."""
        return _combined(self.log_weights, [source.normalised(rows) for source in self.sources.values()])

    def wrong(self, rows: Rows, log_p_MC: Values) -> Values:
        """The probability [M] that the label is wrong of images with `log_p`; NaN for images that are not judged."""
        judged = self.judged[rows]
        found = np.full(len(rows), np.nan)
        found[judged] = wrong_probability(np.exp(log_p_MC[judged]), self.labels_N[rows[judged]], self.noise_CC)
        return found


def pool(sources: Mapping[str, Source], labels_N: NDArray[np.int64], classes: int) -> Pooled:
    """Combine `sources` about images with `labels_N`, which are -1 where there is no label."""
    known_N = np.logical_or.reduce([source.known_N for source in sources.values()])
    fitted = np.flatnonzero(known_N & (labels_N >= 0))
    if len(fitted) > MOST_FITTED:
        fitted = np.random.default_rng(0).choice(fitted, MOST_FITTED, replace=False)
    log_weights, noise_CC = np.zeros(len(sources)), even_noise(FIRST_SHARE, classes)
    if len(fitted):
        parts = [source.normalised(fitted) for source in sources.values()]
        log_weights, noise_CC = _fit(parts, labels_N[fitted], noise_CC)
    return Pooled(sources=sources, labels_N=labels_N, log_weights=log_weights, noise_CC=noise_CC)


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


def _fit(parts: Sequence[Values], labels_M: NDArray[np.int64], noise_CC: Values) -> tuple[Values, Values]:
    """The log weight of each source and the noise [C, C], from log probabilities [M, C] of labelled images."""
    log_weights = np.zeros(len(parts))
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
