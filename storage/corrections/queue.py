"""The order in which people check a teacher's answers: a sample with known probabilities.

Priority sampling (Duffield, Lund and Thorup, Journal of the ACM 54(6), 2007): each answer has a weight w and a uniform
draw u in (0, 1], and they are asked about in the order of w / u, largest first. If the first k are answered and t is
w / u of the next one, an answer is among them with probability min(1, w / t), and what is summed with these weights is
unbiased for all answers, whatever k is: a person can stop at any time, and later answers add to earlier ones. Draws
follow from image id and question: a dataset that grows keeps them.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from storage.answers.read import Answers
from storage.corrections.apply import is_stale
from storage.corrections.current import CurrentCorrections
from storage.corrections.rows import NO, YES, Correction, Shown
from storage.statistics import class_information

SHARED = 0.3  # share of a question's weight that is the same for all images: no probability becomes tiny
LEAST_ERROR = 0.02
BATCH = 50
KEPT = 4096  # places whose order is computed at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One answer to ask a person about."""

    row: int  # of the answers
    column: int
    image_id: str
    key: str
    text: str
    p_yes: float
    shown: Shown


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The checked answers of a queue up to the first gap, S of them, as a sample of all answers.

    `rows` and `columns` [S] index the answers, `probability` [S] is that of being in the sample, `yes` [S] is the
    person's answer: 1 yes, 0 no, NaN unsure.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    probability: NDArray[np.float64]
    yes: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Queue:
    """All answers of one directory in the order of `weights` / `draws`, [I, Q]; those without a value have weight 0."""

    id: str
    answers: Answers
    weights: NDArray[np.float64] = field(repr=False)
    draws: NDArray[np.float64] = field(repr=False)

    @classmethod
    def of(cls, answers: Answers, student_p_yes: NDArray[np.floating] | None = None) -> Queue:
        """Return the queue of a teacher's answers; `student_p_yes` [I, Q] is what a student says, NaN where it says
        nothing."""
        errors = expected_errors(answers, student_p_yes)
        digest = hashlib.sha256(repr((answers.dataset, answers.teacher, answers.questions.fingerprint)).encode())
        if student_p_yes is not None:
            digest.update(np.ascontiguousarray(student_p_yes, np.float32).tobytes())
        return cls(
            id=digest.hexdigest()[:12],
            answers=answers,
            weights=answer_weights(answers, errors),
            draws=uniform_draws(answers.image_ids, answers.questions.texts),
        )

    def __len__(self) -> int:
        """The number of answers that have a value."""
        return int((self.weights > 0).sum())

    def p_yes_of(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the teacher's p(yes) of some answers, [S]."""
        log_odds = self.answers.yes[rows, columns].astype(np.float64) - self.answers.no[rows, columns]
        found: NDArray[np.float64] = expit(log_odds)
        return found

    def first(self, count: int) -> NDArray[np.int64]:
        """Return the first `count` places, fewer where there are no more, as indices into the flat answers."""
        if count <= len(self._kept):
            return self._kept[:count]
        return self._order(count)

    def next_items(self, current: CurrentCorrections, count: int = BATCH) -> list[Item]:
        """Return the next answers without a correction."""
        order = self.first(len(current.answers) + count).tolist()
        ranks = [rank for rank, place in enumerate(order, start=1) if self._correction(place, current) is None]
        return [self._item(order[rank - 1], rank) for rank in ranks[:count]]

    def sample(self, current: CurrentCorrections) -> Sample:
        """Return the answers up to the first gap. Corrections beyond it were chosen by people and are no sample."""
        order = self.first(len(current.answers) + 1)
        found = [self._correction(place, current) for place in order.tolist()]
        size = found.index(None) if None in found else len(found)
        taken, weights = order[:size], self.weights.ravel()
        probability = np.ones(size)
        if size < len(order):
            limit = weights[order[size]] / self.draws.ravel()[order[size]]
            probability = np.minimum(1.0, weights[taken] / limit)
        values = {YES: 1.0, NO: 0.0}
        said = [np.nan if row is None or row.value is None else values[row.value] for row in found[:size]]
        rows, columns = np.unravel_index(taken, self.weights.shape)
        return Sample(rows=rows, columns=columns, probability=probability, yes=np.array(said, float))

    @functools.cached_property
    def _kept(self) -> NDArray[np.int64]:
        return self._order(KEPT)

    def _order(self, count: int) -> NDArray[np.int64]:
        priorities = (self.weights / self.draws).ravel()
        count = min(count, len(self))
        if count == 0:
            return np.zeros(0, np.int64)
        chosen = np.argpartition(-priorities, count - 1)[:count]
        return chosen[np.lexsort((chosen, -priorities[chosen]))]

    def _correction(self, place: int, current: CurrentCorrections) -> Correction | None:
        """Return the correction of an answer; a correction of another version of the image counts as unsure."""
        row, column = divmod(place, self.weights.shape[1])
        key = self.answers.image_ids[row], self.answers.questions.questions[column].text
        found = current.answers.get(key)
        if found is not None and is_stale(found, self.answers.image_sha256[row]):
            return replace(found, value=None)
        return found

    def _item(self, place: int, rank: int) -> Item:
        row, column = divmod(place, self.weights.shape[1])
        question = self.answers.questions.questions[column]
        weight, draw = float(self.weights[row, column]), float(self.draws[row, column])
        return Item(
            row=row,
            column=column,
            image_id=self.answers.image_ids[row],
            key=question.key,
            text=question.text,
            p_yes=float(self.p_yes_of(np.array([row]), np.array([column]))[0]),
            shown=Shown(queue=self.id, rank=rank, weight=weight, draw=draw),
        )


def expected_errors(answers: Answers, student_p_yes: NDArray[np.floating] | None = None) -> NDArray[np.float64]:
    """Return a guess [I, Q] of the probability that the teacher's yes or no is wrong: the mean of three estimates, from
    the teacher's own p(yes), the answers about the other images of the class, and the student. NaN without an
    answer."""
    p_yes = answers.p_yes.astype(np.float64)
    says_yes = p_yes > 0.5
    others = [p_yes, _class_means(answers, p_yes)]
    if student_p_yes is not None:
        others.append(student_p_yes.astype(np.float64))
    total, counted = np.zeros(p_yes.shape), np.zeros(p_yes.shape)
    for other in others:
        known = ~np.isnan(other)
        total += np.where(known, np.where(says_yes, 1 - other, other), 0.0)
        counted += known
    mean = total / np.maximum(counted, 1)
    return np.where(np.isnan(p_yes), np.nan, mean.clip(LEAST_ERROR, 0.5))


def _class_means(answers: Answers, p_yes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean answer of the other images of each image's class [I, Q]; NaN without any."""
    names, labels = np.unique(np.array(answers.label_names), return_inverse=True)
    answered = ~np.isnan(p_yes)
    values = np.where(answered, p_yes, 0.0)
    sums, counts = (
        np.stack([np.bincount(labels, column, len(names)) for column in each.T], axis=1) for each in (values, answered)
    )
    others = counts[labels] - answered
    labelled = np.array([bool(name) for name in answers.label_names])[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (sums[labels] - values) / others
    return np.where((others > 0) & labelled, means, np.nan)


def answer_weights(answers: Answers, errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights [I, Q], 0 where there is no answer.

    Within a question they grow with the standard deviation of an error, sqrt(e (1 - e)), which makes the estimate of
    its accuracy most precise (Neyman, 1934). Half of the total goes to all questions alike, half by what they say about
    the class, so that answers that students learn most from are corrected first.
    """
    answered = ~np.isnan(errors)
    spread = np.where(answered, np.sqrt(errors * (1 - errors)), 0.0)
    count = np.maximum(answered.sum(axis=0), 1)
    mean = np.maximum(spread.sum(axis=0) / count, 1e-12)
    within = np.where(answered, SHARED + (1 - SHARED) * spread / mean, 0.0)
    return within * question_shares(answers) / count


def question_shares(answers: Answers) -> NDArray[np.float64]:
    """Return the share of each question in the total weight, [Q]."""
    equal = np.full(len(answers.questions), 1 / len(answers.questions))
    labelled = np.flatnonzero([bool(name) for name in answers.label_names])
    if len(labelled) == 0:
        return equal
    bits = class_information(answers.p_yes[labelled], [answers.label_names[row] for row in labelled])
    bits = np.nan_to_num(bits)
    return equal if bits.sum() <= 0 else 0.5 * equal + 0.5 * bits / bits.sum()


def uniform_draws(image_ids: Sequence[str], texts: Sequence[str]) -> NDArray[np.float64]:
    """Return a number in (0, 1] for each image and question, [I, Q], that follows from both alone."""
    images, questions = (np.array([_hash(name) for name in names], np.uint64) for names in (image_ids, texts))
    with np.errstate(over="ignore"):
        mixed = _mix(images[:, None] + _mix(questions)[None, :])
    return ((mixed >> np.uint64(11)).astype(np.float64) + 1) * 2.0**-53


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Apply the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
