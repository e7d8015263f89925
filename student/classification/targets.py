"""Targets from a teacher's answers: arrays with one row per image, made by chains of small functions.

Each takes values [N, K] and what is known about the N images, and returns values [N, K'] of the same order. The first
of a chain gets the answers as log-odds of yes in nats. Nothing but the training images is ever looked at for a mean, a
spread or a fit: images that are only validated on have no part in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax
from sklearn.covariance import ledoit_wolf

FOLDS = 5
# Beyond e^10 to 1 an answer's confidence says more about its number format than about the image.
SUREST = 10.0
LEAST_SPREAD = 1e-3

Values = NDArray[np.floating]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLabels:
    """N images of C classes: int labels [N] (-1: unknown), those that are trained on with their label (bool [N]), and a
    seed for what is drawn."""

    labels: NDArray[np.int64]
    trained: NDArray[np.bool_]
    classes: int
    seed: int

    def generator(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, 2])


Transform = Callable[[Values, ImageLabels], Values]


def probability(log_odds: Values, images: ImageLabels) -> Values:
    """p(yes) of each answer, as MaKD (arXiv 2501.13341) and LaViD (arXiv 2606.27527) learn it."""
    p_yes: Values = expit(log_odds)
    return p_yes


def class_mean(values: Values, images: ImageLabels) -> Values:
    """Every image's row replaced by the mean row of its class's training images: what is left without the image. NaN
    where the label is not known."""
    return only_labelled(_means(values, images)[images.labels], images)


def only_labelled(values: Values, images: ImageLabels) -> Values:
    """NaN for images whose label is not known: what is looked up by the class does not exist for them."""
    return np.where(images.labels[:, None] >= 0, values, np.nan)


def shuffle_within_class(values: Values, images: ImageLabels) -> Values:
    """Control: every training image gets the row of another image of its class. NaN where the label is not known."""
    order = np.arange(len(values))
    generator = images.generator()
    for label in range(images.classes):
        members = np.flatnonzero(images.trained & (images.labels == label))
        order[members] = generator.permutation(members)
    return only_labelled(values[order], images)


def shuffle(values: Values, images: ImageLabels) -> Values:
    """Control: every training image gets the row of any other, so that a row says nothing about image or class."""
    order = np.arange(len(values))
    answered = ~np.isnan(values).all(axis=1)
    members = np.flatnonzero((images.trained | (images.labels < 0)) & answered)
    order[members] = images.generator().permutation(members)
    shuffled: Values = values[order]
    return shuffled


def random_uniform(values: Values, images: ImageLabels) -> Values:
    """Control of the MaKD paper: numbers drawn uniformly between 0 and 1."""
    return images.generator().uniform(size=values.shape)


def class_posterior(log_odds: Values, images: ImageLabels) -> Values:
    """log p(class | the image's answers) up to a constant a row, [N, C]: what the answers alone say about the class.

    Linear discriminant analysis (Fisher 1936) of the log-odds with a Ledoit-Wolf covariance within the classes and
    equal priors. A training image is never judged by itself: five parts of each class take turns, each judged by the
    other four; images that are not trained on are judged by all. One temperature, fitted on the training images, makes
    the probabilities mean what they say; where every class has a single one, nothing can be fitted and it is 1. Missing
    answers count as the question's mean; NaN for images without any answer.
    """
    answered = ~np.isnan(log_odds[images.trained]).all(axis=0)
    silent = np.isnan(log_odds).all(axis=1) & (log_odds.shape[1] > 0)
    values = np.clip(log_odds[:, answered], -SUREST, SUREST).astype(np.float64)
    scores = np.zeros((len(values), images.classes))
    if answered.any():
        values = np.where(np.isnan(values), np.nanmean(values[images.trained], axis=0), values)
        folds = _folds(images)
        for fold in range(-1, FOLDS):
            judged = folds == fold
            fitted = images.trained & ~judged
            if judged.any() and fitted.any():
                scores[judged] = _discriminate(values, images, fitted, values[judged])
    scores = _scale(scores, images) * (scores - scores.mean(axis=1, keepdims=True))
    return np.where(silent[:, None], np.nan, scores)


def _scale(scores: Values, images: ImageLabels) -> float:
    """What to multiply log-probabilities with so that the training images are surprised least by their labels."""
    labels = images.labels[images.trained]
    if len(labels) == len(np.unique(labels)):
        return 1.0

    def surprise(log_scale: float) -> float:
        logs = log_softmax(np.exp(log_scale) * scores[images.trained], axis=1)
        return -float(logs[np.arange(len(labels)), labels].mean())

    return float(np.exp(minimize_scalar(surprise, bounds=(-7.0, 3.0), method="bounded").x))


def unlabelled_posterior(log_odds: Values, images: ImageLabels) -> Values:
    """`class_posterior` of the images whose label is not known; NaN for the others, which have better than that."""
    unlabelled = images.labels[:, None] < 0
    if not unlabelled.any():
        return np.full((len(log_odds), images.classes), np.nan)
    return np.where(unlabelled, class_posterior(log_odds, images), np.nan)


def _discriminate(values: Values, images: ImageLabels, fitted: NDArray[np.bool_], judged: Values) -> Values:
    """log p(class | answers) up to a constant a row, [M, C], for `judged` [M, Q] by a fit to the images `fitted`."""
    labels = images.labels[fitted]
    classes = np.unique(labels)
    means = np.stack([values[fitted][labels == label].mean(axis=0) for label in classes])
    centres = means[np.searchsorted(classes, labels)]
    if len(classes) == len(labels):  # one image of each class says nothing about the spread within
        centres = values[fitted].mean(axis=0)
    covariance, _ = ledoit_wolf(values[fitted] - centres, assume_centered=True)
    # Answers about the class are the same for all its images: a little of the whole spread keeps that invertible.
    spread = max(float(values[fitted].var(axis=0).mean()), LEAST_SPREAD)
    covariance += LEAST_SPREAD * spread * np.eye(len(covariance))
    directions = np.linalg.solve(covariance, means.T)
    found = judged @ directions - 0.5 * (means.T * directions).sum(axis=0)
    # A class without an image to be fitted on is as unlikely as the least likely.
    scores = np.tile(found.min(axis=1, keepdims=True), images.classes)
    scores[:, classes] = found
    return scores


def _folds(images: ImageLabels) -> NDArray[np.int64]:
    """Number of the part that a training image is judged in, 0 .. FOLDS - 1; -1 for all others."""
    folds = np.full(len(images.labels), -1)
    generator = images.generator()
    for label in range(images.classes):
        members = np.flatnonzero(images.trained & (images.labels == label))
        folds[generator.permutation(members)] = np.arange(len(members)) % FOLDS
    return folds


def _means(values: Values, images: ImageLabels) -> Values:
    """Mean row of each class's training images [C, K]; NaN where a class has none, or no answer."""
    sums, counts = np.zeros((images.classes, values.shape[1])), np.zeros((images.classes, values.shape[1]))
    labels, rows = images.labels[images.trained], values[images.trained]
    np.add.at(sums, labels, np.nan_to_num(rows))
    np.add.at(counts, labels, ~np.isnan(rows))
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
