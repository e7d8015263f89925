"""How much each answer is worth checking, and the random numbers of the order in which answers are checked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from storage.answers.read import Answers
from storage.statistics import class_information

SHARED = 0.3  # share of a question's weight that is the same for all images: no probability becomes tiny
LEAST_ERROR = 0.02


def expected_errors(answers: Answers, student_p_yes: NDArray[np.floating] | None = None) -> NDArray[np.float64]:
    """Return a guess [I, Q] of the probability that the teacher's yes or no is wrong: the mean of three estimates, from
    the teacher's own p(yes), the answers about the other images of the class, and the student. NaN without an
    answer."""
    p_yes_IQ = answers.p_yes
    names, labels = np.unique(np.array(answers.label_names), return_inverse=True)
    labels = np.where([bool(name) for name in answers.label_names], labels, -1)
    found = np.empty(p_yes_IQ.shape)
    for column in range(p_yes_IQ.shape[1]):  # one question at a time: large stores have gigabytes of answers
        p_yes = p_yes_IQ[:, column].astype(np.float64)
        others = [p_yes, _means_of_others(p_yes, labels, len(names))]
        if student_p_yes is not None:
            others.append(student_p_yes[:, column].astype(np.float64))
        found[:, column] = _mean_error(p_yes, others)
    return found


def _mean_error(p_yes: NDArray[np.float64], others: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the mean probability [I] of the other answer by `others`, NaN without an answer."""
    total, counted = np.zeros(p_yes.shape), np.zeros(p_yes.shape)
    for other in others:
        known = ~np.isnan(other)
        total += np.where(known, np.where(p_yes > 0.5, 1 - other, other), 0.0)
        counted += known
    mean = total / np.maximum(counted, 1)
    return np.where(np.isnan(p_yes), np.nan, mean.clip(LEAST_ERROR, 0.5))


def _means_of_others(p_yes: NDArray[np.float64], labels: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Return the mean answer [I] of the other images of each image's class; NaN without any, and without a class
    (-1)."""
    answered = ~np.isnan(p_yes)
    values, inside = np.where(answered, p_yes, 0.0), labels >= 0
    sums, counts = (np.bincount(labels[inside], each[inside], classes) for each in (values, answered))
    others = counts[labels] - answered
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (sums[labels] - values) / others
    return np.where((others > 0) & inside, means, np.nan)


def answer_weights(answers: Answers, errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights [I, Q], 0 where there is no answer.

    Within a question they grow with the standard deviation of an error, sqrt(e (1 - e)), which makes the estimate of
    its accuracy most precise (Neyman, 1934). Half of the total goes to all questions alike, half by what they say about
    the class, so that answers that students learn most from are corrected first.
    """
    shares = question_shares(answers)
    answered = ~np.isnan(errors)
    weights = np.where(answered, np.sqrt(errors * (1 - errors)), 0.0)
    count = np.maximum(answered.sum(axis=0), 1)
    mean = np.maximum(weights.sum(axis=0) / count, 1e-12)
    # In place: a large store's weights take gigabytes.
    weights *= 1 - SHARED
    weights /= mean
    weights += SHARED
    weights[~answered] = 0.0
    weights *= shares
    weights /= count
    return weights


def question_shares(answers: Answers) -> NDArray[np.float64]:
    """Return the share of each question in the total weight, [Q]."""
    equal = np.full(len(answers.questions), 1 / len(answers.questions))
    labelled = np.flatnonzero([bool(name) for name in answers.label_names])
    if len(labelled) == 0:
        return equal
    bits = class_information(answers.p_yes[labelled], [answers.label_names[row] for row in labelled])
    bits = np.nan_to_num(bits)
    return equal if bits.sum() <= 0 else 0.5 * equal + 0.5 * bits / bits.sum()


def uniform_draws(image_ids: Sequence[str], texts: Sequence[str], seed: str = "") -> NDArray[np.float64]:
    """Return a number in (0, 1] for each image and question, [I, Q], that follows from both and the seed alone."""
    seeded = [f"{seed}\n{text}" if seed else text for text in texts]
    images, questions = (np.array([_hash(name) for name in names], np.uint64) for names in (image_ids, seeded))
    found = np.empty((len(images), len(questions)))
    with np.errstate(over="ignore"):
        for column, question in enumerate(_mix(questions)):
            found[:, column] = ((_mix(images + question) >> np.uint64(11)).astype(np.float64) + 1) * 2.0**-53
    return found


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Apply the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
