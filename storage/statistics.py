"""Statistics of answers: information about the classes, rank, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

OPTIMAL_ROWS = 300  # clustered in the optimal order of leaves, which takes time with the cube of their number


def sigmoid(log_odds: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return 1 / (1 + exp(-x)) in the type of `log_odds`, by tanh: it does not overflow where exp would."""
    return 0.5 + 0.5 * np.tanh(0.5 * log_odds)


def class_information(p_yes: NDArray[np.floating], label_names: Sequence[str]) -> NDArray[np.float64]:
    """Mutual information of each question's answer and the class, in bits: float64 [Q].

    `p_yes` is [I, Q], NaN where there is no answer; `label_names` are the images' classes. The answer is a yes with
    probability p(yes): I(answer; class) = H(mean p) - sum over classes of share * H(mean p within the class). 0 where
    every class gets the same answer, at most 1 where half of the classes get yes and half no; NaN without answers.
    """
    answered = ~np.isnan(p_yes)
    values = np.where(answered, p_yes, 0.0).astype(np.float64)
    _, labels = np.unique(np.asarray(label_names), return_inverse=True)
    classes = np.eye(labels.max(initial=-1) + 1)[labels]
    return information_of_sums(classes.T @ answered, classes.T @ values)


def information_of_sums(counts_CQ: NDArray[Any], sums_CQ: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute `class_information` from the number of answers and the sum of p(yes) of each class and question."""
    total = counts_CQ.sum(axis=0)
    with np.errstate(invalid="ignore"):
        within = np.nansum(counts_CQ / total * binary_entropy(sums_CQ / counts_CQ), axis=0)
        information = binary_entropy(sums_CQ.sum(axis=0) / total) - within
    return np.where(total > 0, np.maximum(information, 0.0), np.nan)


def binary_entropy(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Entropy in bits of a yes with probability `p`; NaN stays NaN."""
    inside = np.clip(p, 1e-300, 1 - 1e-16)
    return -(p * np.log2(inside) + (1 - p) * np.log2(1 - inside))


def image_information(p_yes: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return how much each question's answer depends on the image: float64 [Q], 0 .. 1.

    It is the mutual information of image and answer as a share of the answer's entropy, (H(mean p) - mean H(p)) /
    H(mean p): 1 if every answer is sure and some differ, 0 if all images get the same p(yes), sure or not. `p_yes` is
    [I, Q] without gaps.
    """
    values = p_yes.astype(np.float64)
    total = binary_entropy(values.mean(axis=0))
    decided = total - binary_entropy(values).mean(axis=0)
    return np.divide(decided, total, out=np.zeros_like(total), where=total > 1e-9).clip(0, 1)


@dataclass(frozen=True, kw_only=True)
class ClassInformation:
    """Information of each of Q questions about the class, in bits per image, above chance.

    `alone` [Q] is the mutual information with the class. `with_partner` [Q] is the most that a question adds to any one
    other question, whose column is `partner` [Q]: two answers together may carry information that neither has alone.
    `alone_chance` and `with_partner_chance` [Q] are the 95th percentiles under shuffled labels. A single question has
    no partner: -inf.
    """

    alone: NDArray[np.float64]
    alone_chance: NDArray[np.float64]
    with_partner: NDArray[np.float64]
    with_partner_chance: NDArray[np.float64]
    partner: NDArray[np.int64]

    def informative(self, least: float = 0.0) -> NDArray[np.bool_]:
        """Return [Q]: whether a question has more information about the class than chance, and at least `least`
        bits."""
        alone = self.alone > np.maximum(self.alone_chance, least)
        return alone | (self.with_partner > np.maximum(self.with_partner_chance, least))


def measure_class_information(
    p_yes: NDArray[np.floating], label_names: Sequence[str], *, shuffles: int = 40, seed: int = 0
) -> ClassInformation:
    """Measure the information of `p_yes` [I, Q], which has no gaps, about the class.

    With few images any answer looks informative. The mean over shuffled labels is subtracted, which corrects this bias
    whatever the distribution of the answers.
    """
    _, labels = np.unique(np.asarray(label_names), return_inverse=True)
    values = p_yes.astype(np.float64)
    generator = np.random.default_rng(seed)
    alone, added = _pair_information(values, labels)
    by_chance = [_pair_information(values, generator.permutation(labels)) for _ in range(shuffles)]
    alone_bias = np.mean([chance for chance, _ in by_chance], axis=0)
    added_bias = np.mean([chance for _, chance in by_chance], axis=0)
    added = added - added_bias
    best_by_chance = [_others(chance - added_bias).max(axis=1) for _, chance in by_chance]
    added = _others(added)
    return ClassInformation(
        alone=alone - alone_bias,
        alone_chance=np.quantile([chance - alone_bias for chance, _ in by_chance], 0.95, axis=0),
        with_partner=added.max(axis=1),
        with_partner_chance=np.quantile(best_by_chance, 0.95, axis=0, method="higher"),
        partner=added.argmax(axis=1),
    )


def _pair_information(
    values: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return I(class; answer) [Q] and what each question adds to each other, I(class; i | j) [Q, Q], in bits and
    uncorrected.

    A question adds nothing to itself. Given the image, answers are independent draws.
    """
    alone = binary_entropy(values.mean(axis=0))
    together = _pair_entropy(values)
    for label in range(labels.max() + 1):
        members = values[labels == label]
        share = len(members) / len(values)
        alone = alone - share * binary_entropy(members.mean(axis=0))
        together = together - share * _pair_entropy(members)
    added = together - alone[None, :]
    np.fill_diagonal(added, 0.0)
    return alone, added


def _others(pairs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `pairs` [Q, Q] with -inf on the diagonal: no question is its own partner."""
    return np.where(np.eye(len(pairs), dtype=np.bool_), -np.inf, pairs)


def _pair_entropy(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the joint entropy of each pair of answers in bits, [Q, Q]."""
    both, means = values.T @ values / len(values), values.mean(axis=0)
    first, second = means[:, None] - both, means[None, :] - both
    joint = np.stack([both, first, second, 1 - both - first - second]).clip(1e-300, 1)
    return -(joint * np.log2(joint)).sum(axis=0)


def effective_rank(values: NDArray[np.floating]) -> float:
    """Return the number of independent directions among the columns of `values` [I, Q]: the exponential of the entropy
    of their correlation matrix's normalised eigenvalues (Roy and Vetterli, EUSIPCO 2007).

    Q for unrelated columns, 1 for copies; constant columns are ignored.
    """
    varying = values[:, values.std(axis=0) > 1e-6].astype(np.float64)
    if varying.shape[1] == 0:
        return 0.0
    eigenvalues = np.linalg.eigvalsh(np.corrcoef(varying.T).reshape(varying.shape[1], -1)).clip(1e-300)
    shares = eigenvalues / eigenvalues.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def calibration_error(
    p_yes: NDArray[np.floating], right: NDArray[np.bool_] | NDArray[np.floating], bins: int = 15
) -> float:
    """Return the expected calibration error of p(yes) [I] against the right answers [I] (Guo et al., ICML 2017).

    It is the mean distance between p(yes) and the share of yes in bins of equal width, weighted by bin size. Right
    answers may be probabilities.
    """
    places = np.minimum((p_yes * bins).astype(int), bins - 1)
    counts = np.bincount(places, minlength=bins)
    gaps = np.bincount(places, weights=right, minlength=bins) - np.bincount(places, weights=p_yes, minlength=bins)
    return float(np.abs(gaps).sum() / counts.sum())


def surprise(p_yes: NDArray[np.floating], expected: NDArray[np.floating], least: float = 0.01) -> NDArray[np.float64]:
    """How far each p(yes) [N] contradicts the `expected` one [N], in bits: the Kullback-Leibler divergence of the two
    answers.

    Expected ones are kept within `least` .. 1 - least: a finite number of images makes no answer impossible.
    """
    p = np.asarray(p_yes, np.float64)
    q = np.clip(np.asarray(expected, np.float64), least, 1 - least)
    cross = -(p * np.log2(q) + (1 - p) * np.log2(1 - q))
    return np.maximum(cross - binary_entropy(p), 0.0)


def cluster_order(values: NDArray[np.floating]) -> NDArray[np.int64]:
    """An order of the rows of `values` [N, D] in which similar rows are next to each other: the leaves of hierarchical
    clustering by average distance. NaN counts as the column's mean."""
    if len(values) < 3 or values.shape[1] == 0:
        return np.arange(len(values))
    from scipy.cluster.hierarchy import leaves_list, linkage  # a second to import
    from scipy.spatial.distance import pdist

    known = ~np.isnan(values)
    means = np.where(known, values, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    # Distances, not values: `linkage` warns of values that look like a matrix of distances, as confusions may.
    distances = pdist(np.where(known, values, means))
    tree = linkage(distances, "average", optimal_ordering=len(values) <= OPTIMAL_ROWS)
    return leaves_list(tree).astype(np.int64)
