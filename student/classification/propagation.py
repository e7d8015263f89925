"""Label propagation: predict the class of unlabelled images from labelled ones, by answers and features together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax
from sklearn.covariance import ledoit_wolf_shrinkage

# Of the cosine, and how often; chosen on training images whose label was held back (docs/experiments.md).
SCALE, ROUNDS = 20.0, 11
MOST_DIMENSIONS = 200
IMPOSSIBLE = -50.0  # the least log-probability: a probability of 0 has none
LEAST_NORM = 1e-6

Values = NDArray[np.floating]


def propagate_labels(
    spaces: Sequence[Values], labels: NDArray[np.int64], classes: int, matched: Values | None = None
) -> NDArray[np.float32]:
    """log p(class) of every image [N, C], from its position among the labelled ones in each of `spaces`.

    `spaces` are descriptions of the same N images, e.g. log-odds of answers [N, Q] and features [N, D]; NaN where a
    value is missing. `labels` [N] are -1 where there is none. Every space is whitened (`whiten`). A class is the mean
    direction of its images; an image's logit for it is the sum over the spaces of their cosine times `SCALE`. From the
    second round on, the images without a label count for each class by their probability of the round before, as in
    semi-supervised k-means (Basu et al., ICML 2002) with soft assignments; labelled images keep their label. The spaces
    are taken to be independent given the class. A class without a labelled image gets `IMPOSSIBLE`.

    With several spaces an image has no part in the mean that it is compared with (leave-one-out): otherwise a wrong
    class confirms itself. With one space that measured worse.

    `matched` [N, C] are log-probabilities up to a constant per row by answers about the classes (`match_classes`). They
    take the place of labels in the first round and are added to the logits of every round, so that classes need no
    label. NaN in the column of a class without answers: it needs one.

    Raises ValueError where no image has a label and no class answers.
    """
    known = np.flatnonzero(labels >= 0)
    by_answers = np.zeros(classes, dtype=bool)
    if matched is not None:
        by_answers |= ~np.isnan(matched).all(axis=0)
    present = np.union1d(labels[known], np.flatnonzero(by_answers))
    columns = np.searchsorted(present, labels[known])
    if len(present) == 0:
        raise ValueError("no image has a label")
    whitened = [whiten(values) for values in spaces if values.shape[1] > 0]
    prior = np.zeros((len(labels), len(present)), dtype=np.float32)
    shares = np.zeros_like(prior)
    if matched is not None:
        prior = np.nan_to_num(matched[:, present]).astype(np.float32)
        shares = softmax(np.where(by_answers[present], prior, IMPOSSIBLE), axis=1)
        shares[known] = 0.0
    shares[known, columns] = 1.0
    leave_one_out = len(whitened) > 1
    for _ in range(ROUNDS):
        logits = prior.copy()
        for rows in whitened:
            logits += SCALE * _cosines(rows, shares, leave_one_out)
        given = shares[known]
        shares = softmax(logits, axis=1)
        shares[known] = given
    found = np.full((len(labels), classes), IMPOSSIBLE, dtype=np.float32)
    found[:, present] = np.maximum(log_softmax(logits, axis=1), IMPOSSIBLE)
    return found


def whiten(values: Values) -> NDArray[np.float32]:
    """Rows [N, D'] of length 1 whose dimensions are uncorrelated and of equal variance: at most `MOST_DIMENSIONS`
    principal components of `values` [N, D], each divided by its standard deviation under the Ledoit-Wolf shrinkage of
    the covariance (J. Multivariate Analysis 88, 2004). Missing values (NaN) are the mean of their column; a row without
    any value is 0."""
    answered = ~np.isnan(values)
    counts = answered.sum(axis=0)
    means = np.where(answered, values, 0.0).sum(axis=0, dtype=np.float64) / np.maximum(counts, 1)
    centred = np.where(answered, values - means, 0.0).astype(np.float64)
    shrinkage = ledoit_wolf_shrinkage(centred, assume_centered=True)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    kept = min(MOST_DIMENSIONS, len(sizes))
    variances = sizes[:kept] ** 2 / len(values)
    shrunk = (1 - shrinkage) * variances + shrinkage * np.square(centred).mean()
    components = centred @ directions[:kept].T
    return _unit(components / np.sqrt(np.maximum(shrunk, np.finfo(np.float32).tiny))).astype(np.float32)


def _cosines(rows: Values, shares: NDArray[np.float32], leave_one_out: bool) -> Values:
    """[N, C]: of each row [N, D] with the sum of all rows, each weighted by its share of the class [N, C]; with
    `leave_one_out` without the row itself. 0 where the sum is almost 0."""
    sums = shares.T @ rows
    products = rows @ sums.T
    squares = np.broadcast_to((sums**2).sum(axis=1), products.shape)
    if leave_one_out:
        own = shares * (rows**2).sum(axis=1, keepdims=True)
        squares = squares - 2 * shares * products + shares * own
        products = products - own
    return np.where(squares < LEAST_NORM, 0.0, products / np.sqrt(np.maximum(squares, LEAST_NORM)))


def _unit(rows: Values) -> Values:
    """Rows of length 1; those that are almost 0 stay so."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(lengths < LEAST_NORM, 0.0, rows / np.maximum(lengths, LEAST_NORM)).astype(rows.dtype)
