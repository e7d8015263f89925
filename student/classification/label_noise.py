"""Combine what several sources say about the class, and estimate how likely each given label is wrong.

The model: the class of an image follows p(class) ~ prod over sources s of p_s(class) ^ weight_s (a product of experts,
Hinton 2002), and a label is wrong with a probability that is the same for all images, any other class being as likely.
Weights and share of wrong labels maximise the likelihood of the given labels, so that wrong labels do not flatten the
probabilities, as a temperature that is fitted without them would.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_softmax

MOST_FITTED = 20_000  # images; three numbers need no more
FIRST_SHARE = 0.05
RANGE = (-4.0, 4.0)  # of log weights
SHARE_RANGE = (-9.0, 0.0)  # of the log-odds of a wrong label


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """`log_p_NC`: log p(class) by all sources; 0 information is a uniform row. `judged_N`: images with a label and at
    least one source. `wrong_N`: the probability that a judged label is wrong, NaN for others."""

    log_p_NC: NDArray[np.float64]
    judged_N: NDArray[np.bool_]
    wrong_N: NDArray[np.float64]
    weights: Mapping[str, float]
    wrong_share: float


def pool(sources: Mapping[str, NDArray[np.floating]], labels_N: NDArray[np.int64]) -> Pooled:
    """Combine `sources`, log p(class) [N, C] each, NaN for images that one says nothing about. `labels_N` are -1 where
    there is no label."""
    stacked = [np.nan_to_num(log_p_NC.astype(np.float64), nan=0.0) for log_p_NC in sources.values()]
    known_N = np.stack([~np.isnan(log_p_NC).any(axis=1) for log_p_NC in sources.values()]).any(axis=0)
    judged_N = known_N & (labels_N >= 0)
    weights, share = _fit(stacked, labels_N, judged_N)
    log_p_NC = log_softmax(sum(w * log_p for w, log_p in zip(weights, stacked, strict=True)), axis=1)
    wrong_N = np.full(len(labels_N), np.nan)
    judged = np.flatnonzero(judged_N)
    wrong_N[judged] = wrong_probability(np.exp(log_p_NC[judged, labels_N[judged]]), share, log_p_NC.shape[1])
    return Pooled(
        log_p_NC=log_p_NC,
        judged_N=judged_N,
        wrong_N=wrong_N,
        weights=dict(zip(sources, weights.tolist(), strict=True)),
        wrong_share=share,
    )


def wrong_probability(p_label: NDArray[np.float64], share: float, classes: int) -> NDArray[np.float64]:
    """The probability that a label is wrong, given the probability of its class by the sources: by Bayes, with `share`
    of all labels wrong and any of the other classes as likely to be given by mistake."""
    wrong = share / (classes - 1) * (1 - p_label)
    return wrong / (wrong + (1 - share) * p_label)


def _fit(
    stacked: list[NDArray[np.float64]], labels_N: NDArray[np.int64], judged_N: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], float]:
    """The weight of each source and the share of wrong labels, by maximum likelihood with a standard normal prior of
    the log weights."""
    rows = np.flatnonzero(judged_N)
    if len(rows) > MOST_FITTED:
        rows = np.random.default_rng(0).choice(rows, MOST_FITTED, replace=False)
    labels, parts = labels_N[rows], [log_p_NC[rows] for log_p_NC in stacked]
    classes, every = parts[0].shape[1], np.arange(len(rows))

    def cost(point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights, share = np.exp(point[:-1]), expit(point[-1])
        logits = sum(weight * part for weight, part in zip(weights, parts, strict=True))
        p_MC = np.exp(log_softmax(logits, axis=1))
        p_label = p_MC[every, labels]
        by_mistake = share / (classes - 1)
        likelihood = by_mistake + (1 - share - by_mistake) * p_label
        slope = (1 - share - by_mistake) * p_label / likelihood
        gradient = [
            -weight * float((slope * (part[every, labels] - (p_MC * part).sum(axis=1))).sum()) + log_weight
            for weight, log_weight, part in zip(weights, point[:-1], parts, strict=True)
        ]
        per_share = (1 / (classes - 1) - (1 + 1 / (classes - 1)) * p_label) / likelihood
        gradient.append(-float(per_share.sum()) * share * (1 - share))
        value = -float(np.log(likelihood).sum()) + float((point[:-1] ** 2).sum()) / 2
        return value, np.array(gradient)

    first = np.append(np.zeros(len(parts)), np.log(FIRST_SHARE / (1 - FIRST_SHARE)))
    bounds = [RANGE] * len(parts) + [SHARE_RANGE]
    found = minimize(cost, first, jac=True, bounds=bounds, method="L-BFGS-B").x
    return np.exp(found[:-1]), float(expit(found[-1]))
