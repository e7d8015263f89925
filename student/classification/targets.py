"""Targets from a teacher's answers: arrays with one row per image, computed by chains of small functions.

Each function takes values [N, K] and labels of the N images, and returns values [N, K'] in the same order. The first
one in a chain gets the answers as log-odds of yes in nats. Means, spreads and fits use only training images, never
validation images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax
from sklearn.covariance import ledoit_wolf

from student.classification.class_matching import match_classes
from student.classification.propagation import propagate_labels

FOLDS = 5
# Log-odds beyond 10 reflect the number format of the answer more than the image.
SUREST = 10.0
LEAST_SPREAD = 1e-3
CHUNK = 8192  # images whose values are copied at once

Values = NDArray[np.floating]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeLogOdds:
    """Log-odds of yes in nats to Q questions and to their negations: `blank` [Q] and `blank_negated` [Q] about a blank
    image, `negated` [N, Q] about N images; NaN where there is none."""

    blank: Values
    blank_negated: Values
    negated: Values


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLabels:
    """Labels of N images with C classes: int labels [N] (-1: unknown), a mask of those trained on with their label
    (bool [N]), a seed for random targets, the images' features [N, D] by the pretrained backbone where there is one,
    log-odds about the classes [C, Q] to the questions about images, where there are any (NaN: unknown), and log-odds of
    probes, where they were asked."""

    labels: NDArray[np.int64]
    trained: NDArray[np.bool_]
    classes: int
    seed: int
    features: Values | None = None
    class_log_odds: Values | None = None
    probes: ProbeLogOdds | None = None

    def generator(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, 2])


Transform = Callable[[Values, ImageLabels], Values]


def probability(log_odds: Values, images: ImageLabels) -> Values:
    """Return p(yes) of each answer, the target of MaKD (arXiv 2501.13341) and LaViD (arXiv 2606.27527)."""
    p_yes: Values = expit(log_odds)
    return p_yes


def class_mean(values: Values, images: ImageLabels) -> Values:
    """Replace every image's row by the mean row of its class's training images, which removes the information of the
    image. NaN if the label is unknown."""
    means = means_by_class(values[images.trained], images.labels[images.trained], images.classes)
    return only_labelled(means[images.labels], images)


def only_labelled(values: Values, images: ImageLabels) -> Values:
    """Set the rows of unlabelled images to NaN: targets that depend on the class do not exist for them."""
    return np.where(images.labels[:, None] >= 0, values, np.nan)


def shuffle_within_class(values: Values, images: ImageLabels) -> Values:
    """Control: give every training image the row of another image of its class. NaN if the label is unknown."""
    order = np.arange(len(values))
    generator = images.generator()
    for label in range(images.classes):
        members = np.flatnonzero(images.trained & (images.labels == label))
        order[members] = generator.permutation(members)
    return only_labelled(values[order], images)


def shuffle(values: Values, images: ImageLabels) -> Values:
    """Control: give every training image the row of any other, so that a row has no information about image or
    class."""
    order = np.arange(len(values))
    answered = ~np.isnan(values).all(axis=1)
    members = np.flatnonzero((images.trained | (images.labels < 0)) & answered)
    order[members] = images.generator().permutation(members)
    shuffled: Values = values[order]
    return shuffled


def random_uniform(values: Values, images: ImageLabels) -> Values:
    """Control of the MaKD paper: numbers drawn uniformly between 0 and 1, in the place of each answer."""
    return np.where(np.isnan(values), np.nan, images.generator().uniform(size=values.shape))


def class_posterior(log_odds: Values, images: ImageLabels) -> Values:
    """Return log p(class | the image's answers) up to a constant per row, [N, C], predicted from the answers alone.

    Linear discriminant analysis (Fisher 1936) of the log-odds with a Ledoit-Wolf covariance within the classes and
    equal priors. Training images are predicted by five-fold cross-fitting within each class; other images are predicted
    by a fit to all training images; NaN without any. One temperature, fitted on the training images, calibrates the
    probabilities; it is 1 if every class has a single image. Missing answers are replaced by the question's mean; NaN
    for images without any answer, and for the only training image of a class, which its fold knows nothing about.
    """
    scores = class_scores(log_odds, images)
    unknown = np.isnan(log_odds).all(axis=1) & (log_odds.shape[1] > 0)
    if not images.trained.any():
        return np.full_like(scores, np.nan)
    count = np.bincount(images.labels[images.trained], minlength=images.classes)
    alone = images.trained & (count[images.labels] == 1)
    scores = _scale(scores, images, images.trained & ~alone) * (scores - scores.mean(axis=1, keepdims=True))
    return np.where((unknown | alone)[:, None], np.nan, scores)


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedScores:
    """Discriminants by the fold whose images they judge; those of fold -1 are fitted to all training images. `values`
    [N, K] are log-odds without gaps, `folds` [N] the fold of each image."""

    values: Values
    folds: NDArray[np.int64]
    discriminants: Mapping[int, Discriminant]
    classes: int

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the scores [M, C] of the images in `rows` [M]; 0 without a discriminant."""
        scores = np.zeros((len(rows), self.classes))
        folds = self.folds[rows]
        for fold, discriminant in self.discriminants.items():
            judged = folds == fold
            if judged.any():
                scores[judged] = discriminant.scores(self.values[rows[judged]].astype(np.float64), self.classes)
        return scores


def fit_class_scores(log_odds: Values, images: ImageLabels) -> FittedScores:
    """Fit the discriminants of `class_scores`, which take little memory where the scores of all images take much."""
    answered = np.array([not np.isnan(column[images.trained]).all() for column in log_odds.T], dtype=bool)
    # As they are, since float64 would double the memory; they are converted where they are used.
    values = np.clip(log_odds[:, answered], -SUREST, SUREST)
    folds = _folds(images)
    discriminants: dict[int, Discriminant] = {}
    if answered.any():
        gaps = np.isnan(values)
        if gaps.any():
            values = values.astype(np.float64)
            np.copyto(values, np.nanmean(values[images.trained], axis=0), where=gaps)
        for fold in range(-1, FOLDS):
            judged = folds == fold
            fitted = images.trained & ~judged
            if judged.any() and fitted.any():
                discriminants[fold] = fit_discriminant(values[fitted], images.labels[fitted])
    return FittedScores(values=values, folds=folds, discriminants=discriminants, classes=images.classes)


def class_scores(log_odds: Values, images: ImageLabels) -> Values:
    """Return what `class_posterior` calibrates: the discriminant's log p(class | answers) up to a constant per row,
    [N, C]; 0 where no training image has an answer."""
    return fit_class_scores(log_odds, images).of(np.arange(len(log_odds)))


def _scale(scores: Values, images: ImageLabels, judged: NDArray[np.bool_]) -> float:
    """Return the factor of log-probabilities that minimises the negative log-likelihood of the labels of the `judged`
    images [N]; 1 without any."""
    labels = images.labels[judged]
    if len(labels) == 0:
        return 1.0

    def surprise(log_scale: float) -> float:
        logs = log_softmax(np.exp(log_scale) * scores[judged], axis=1)
        return -float(logs[np.arange(len(labels)), labels].mean())

    return float(np.exp(minimize_scalar(surprise, bounds=(-7.0, 3.0), method="bounded").x))


def propagated(log_odds: Values, images: ImageLabels) -> Values:
    """log p(class) [N, C] of images without a label, by label propagation over their answers and, where there are any,
    their features (`propagate_labels`), and by answers about the classes where there are any (`match_classes`); NaN for
    all others, and for images that have neither."""
    spaces = [log_odds] if images.features is None else [log_odds, images.features]
    return _propagated(spaces, images, images.class_log_odds)


def propagated_by_features(values: Values, images: ImageLabels) -> Values:
    """As `propagated`, by the features alone; NaN where there are none."""
    return _propagated([] if images.features is None else [images.features], images)


def _propagated(spaces: Sequence[Values], images: ImageLabels, class_log_odds: Values | None = None) -> Values:
    """`class_log_odds` are to the questions of the first of the `spaces`."""
    unlabelled = images.labels < 0
    described = np.zeros(len(unlabelled), dtype=bool)
    for values in spaces:
        described |= ~np.isnan(values).all(axis=1) & (values.shape[1] > 0)
    found = np.full((len(unlabelled), images.classes), np.nan, dtype=np.float32)
    used = images.trained | (unlabelled & described)
    if (unlabelled & described).any() and (images.trained.any() or class_log_odds is not None):
        shown = [values[used] for values in spaces]
        matched = None if class_log_odds is None else match_classes(shown[0], class_log_odds)
        found[used] = propagate_labels(shown, images.labels[used], images.classes, matched)
        found[~unlabelled] = np.nan
    return found


# Those with targets for images without a label alone, which use `ImageLabels.features`.
PROPAGATED = frozenset({propagated, propagated_by_features})


@dataclass(frozen=True, slots=True, kw_only=True)
class Discriminant:
    """Linear discriminant of the classes `labels` [L], in ascending order: `means` and `directions` are [K, L]."""

    labels: NDArray[np.int64]
    means: NDArray[np.float64]
    directions: NDArray[np.float64]

    def scores(self, values: Values, classes: int) -> NDArray[np.float64]:
        """Return log p(class | answers) [M, classes] up to a constant per row for `values` [M, K]."""
        found = values @ self.directions - 0.5 * (self.means * self.directions).sum(axis=0)
        # A class without an image to fit gets the lowest probability of the others.
        scores = np.tile(found.min(axis=1, keepdims=True), classes)
        scores[:, self.labels] = found
        return scores


def fit_discriminant(values: Values, labels: NDArray[np.int64]) -> Discriminant:
    """Fit a discriminant to images with `values` [M, K] and `labels` [M]."""
    values = values.astype(np.float64)
    classes = np.unique(labels)
    means = np.stack([values[labels == label].mean(axis=0) for label in classes])
    # Class-level answers are equal for all images of a class: some of the total spread keeps the covariance invertible.
    spread = max(float(values.var(axis=0).mean()), LEAST_SPREAD)
    if len(classes) == len(labels):  # one image per class gives no spread within the class
        values -= values.mean(axis=0)
    else:
        for start in range(0, len(values), CHUNK):
            part = slice(start, start + CHUNK)
            values[part] -= means[np.searchsorted(classes, labels[part])]
    covariance, _ = ledoit_wolf(values, assume_centered=True)
    covariance += LEAST_SPREAD * spread * np.eye(len(covariance))
    return Discriminant(labels=classes, means=means.T, directions=np.linalg.solve(covariance, means.T))


def _folds(images: ImageLabels) -> NDArray[np.int64]:
    """Return the fold of each training image, 0 .. FOLDS - 1; -1 for all others."""
    folds = np.full(len(images.labels), -1)
    generator = images.generator()
    for label in range(images.classes):
        members = np.flatnonzero(images.trained & (images.labels == label))
        folds[generator.permutation(members)] = np.arange(len(members)) % FOLDS
    return folds


def means_by_class(values: Values, labels: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Return the mean row of each class [C, K] of `values` [N, K]; NaN for a class without images or values. Images
    without a label (-1) count for no class."""
    sums, counts = np.zeros((classes, values.shape[1])), np.zeros((classes, values.shape[1]))
    for start in range(0, len(labels), CHUNK):
        inside, rows = labels[start : start + CHUNK], values[start : start + CHUNK]
        known = inside >= 0
        np.add.at(sums, inside[known], np.nan_to_num(rows[known]))
        np.add.at(counts, inside[known], ~np.isnan(rows[known]))
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
