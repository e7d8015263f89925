"""Which images are trained on with their label: fractions that the seed draws, and the validation split."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from storage.datasets.base import UNKNOWN, UNLABELLED, ImageRecord
from student.classification.config import StudentConfig


def all_labelled(records: Sequence[ImageRecord]) -> bool:
    """Whether every image has a label."""
    return all(record.split != UNLABELLED and record.label != UNKNOWN for record in records)


def visible_labels(
    config: StudentConfig, records: Sequence[ImageRecord], candidates: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """The labels [N] that a student of the config may see, UNKNOWN for all others: those of the split `unlabelled`, and
    those outside `label_fraction` of the `candidates` [N].

    Which labels are shown follows from the order of the images and the seed, never from a label that stays hidden. The
    images are drawn evenly from all over the order, so that a dataset that is ordered by class shows about as many of
    each; a larger fraction adds to a smaller one. Only a class that would be shown none gets the first of its images.
    With `labels_per_class`, the first images of each class in an order of the seed are shown: the draw knows all
    labels, as in experiments with few of them.
    """
    labels = np.array([UNKNOWN if record.split == UNLABELLED else record.label for record in records], dtype=np.int64)
    if config.labels_per_class is not None:
        return _few_of_each(labels, candidates, config.labels_per_class, np.random.default_rng([config.seed, 6]))
    if config.label_fraction == 1:
        return labels
    order = np.flatnonzero(candidates & (labels != UNKNOWN))
    order = order[_spread(np.arange(len(order)), np.random.default_rng([config.seed, 5]))]
    count = max(1, round(config.label_fraction * len(order)))
    shown = set(order[:count].tolist())
    _, firsts = np.unique(labels[order], return_index=True)
    unseen = set(labels[order].tolist()) - set(labels[order[:count]].tolist())
    shown.update(order[first] for first in firsts if labels[order[first]] in unseen)
    hidden = np.setdiff1d(np.arange(len(labels)), sorted(shown))
    labels[hidden] = UNKNOWN
    return labels


def digest_of_seen_labels(records: Sequence[ImageRecord], labels: Sequence[int]) -> str:
    """Digest of the images whose label a student sees, with the labels: those of `visible_labels`."""
    seen = [(record.image_id, label) for record, label in zip(records, labels, strict=True) if label != UNKNOWN]
    return hashlib.sha256(repr(sorted(seen)).encode()).hexdigest()[:16]


def labels_shown(config: StudentConfig) -> tuple[float, float]:
    """A key that sorts configs by how many labels their students see."""
    return (0, config.labels_per_class) if config.labels_per_class is not None else (1, config.label_fraction)


def _few_of_each(
    labels: NDArray[np.int64], candidates: NDArray[np.bool_], count: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """`labels` of the first `count` candidates of each class in a random order, UNKNOWN for all others."""
    shown = np.full_like(labels, UNKNOWN)
    order = generator.permutation(np.flatnonzero(candidates & (labels != UNKNOWN)))
    for label in np.unique(labels[order]):
        members = order[labels[order] == label][:count]
        shown[members] = label
    return shown


def choose_fraction(
    labels: NDArray[np.int64], used: NDArray[np.int64], fraction: float, *, seed: Sequence[int]
) -> NDArray[np.int64]:
    """`fraction` of the used images of each class, at least one, in their order; a larger fraction adds to a smaller
    one of the same seed."""
    if fraction == 1 or len(used) == 0:
        return used
    generator = np.random.default_rng(seed)
    chosen = []
    for label in np.unique(labels[used]):
        members = used[labels[used] == label]
        count = max(1, round(fraction * len(members)))
        chosen.append(generator.permutation(members)[:count])
    return np.sort(np.concatenate(chosen))


def choose_validation(config: StudentConfig, labels: np.ndarray) -> np.ndarray:
    """bool [N]: the held-out share of each class, at least one image and never its last one, drawn from the seed."""
    chosen = np.zeros(len(labels), dtype=bool)
    if config.held_out == 0:
        return chosen
    generator = np.random.default_rng([config.seed, 1])
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(len(members) - 1, max(1, round(config.held_out * len(members))))
        chosen[generator.permutation(members)[:count]] = True
    return chosen


def _spread(places: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int64]:
    """`places` in a random order whose first ones, of any number, are spread evenly: of every two neighbours one,
    chosen at random, goes to the first half, and each half is treated alike."""
    if len(places) < 2:
        return places
    coins = generator.integers(2, size=(len(places) + 1) // 2)
    first = np.repeat(coins, 2)[: len(places)] == np.arange(len(places)) % 2
    return np.concatenate([_spread(places[first], generator), _spread(places[~first], generator)])
