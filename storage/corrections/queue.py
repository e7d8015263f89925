"""The order in which people check a teacher's answers: a sample with known probabilities.

Each answer is drawn from those that are not corrected yet, with a probability in proportion to its weight
(weights.py). The draws are those of exponential clocks (Efraimidis and Spirakis, Information Processing Letters 97,
2006): each answer has a weight w and a uniform draw u, and answers come in the order of -log(1 - u) / w. So the order
need not be stored, and a person can stop at any time. Whatever changes the weights makes another queue with other
draws; what was checked before counts with the probabilities that were recorded (sampling.py).
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from storage.answers.read import Answers
from storage.corrections.current import CurrentCorrections
from storage.corrections.rows import Shown
from storage.corrections.sampling import AnswerPlaces, KnownAnswers, PrioritySample, Sample, lowest, sample_of
from storage.corrections.weights import answer_weights, expected_errors, uniform_draws

BATCH = 50
KEPT = 4096  # places whose order is computed at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One answer to ask a person about: it was drawn with `probability` from the `pool` answers that are not corrected,
    nor before it in the same list."""

    row: int  # of the answers
    column: int
    image_id: str
    key: str
    text: str
    p_yes: float
    shown: Shown
    probability: float
    pool: int


@dataclass(frozen=True, kw_only=True)
class Queue:
    """All answers of one directory with their `weights` and `draws`, [I, Q]; those without a value have weight 0."""

    id: str
    answers: Answers
    weights: NDArray[np.float64] = field(repr=False)
    draws: NDArray[np.float64] = field(repr=False)

    @classmethod
    def of(cls, answers: Answers, student_p_yes: NDArray[np.floating] | None = None) -> Queue:
        """Return the queue of a teacher's answers; `student_p_yes` [I, Q] is what a student says, NaN where it says
        nothing."""
        weights = answer_weights(answers, expected_errors(answers, student_p_yes))
        named = (answers.dataset, answers.teacher, answers.questions.fingerprint, answers.image_ids)
        digest = hashlib.sha256(repr(named).encode())
        digest.update(np.ascontiguousarray(weights).data)
        name = digest.hexdigest()[:12]
        return cls(
            id=name,
            answers=answers,
            weights=weights,
            draws=uniform_draws(answers.image_ids, answers.questions.texts, name),
        )

    def __len__(self) -> int:
        """The number of answers that have a value."""
        return self._size

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
        known = set(self._known(current).places.tolist())
        weights = self.weights.ravel()
        items: list[Item] = []
        pool = len(self) - len(known)
        total = self._total - float(weights[list(known)].sum())
        for rank, place in enumerate(self.first(len(known) + count).tolist(), start=1):
            if place not in known and len(items) < count:
                weight = float(weights[place])
                probability = 1.0 if pool == 1 else min(1.0, weight / total)
                items.append(self._item(place, rank, probability, pool))
                total, pool = total - weight, pool - 1
        return items

    def sample(self, current: CurrentCorrections) -> Sample:
        """Return the corrected answers as a sample of all."""
        return sample_of(self.answers, self._known(current), self._earlier)

    @functools.cached_property
    def _size(self) -> int:
        return int((self.weights > 0).sum())

    @functools.cached_property
    def _total(self) -> float:
        return float(self.weights.sum())

    @functools.cached_property
    def _places(self) -> AnswerPlaces:
        return AnswerPlaces(self.answers)

    @functools.cached_property
    def _earlier(self) -> PrioritySample:
        return PrioritySample(self.answers)

    @functools.cached_property
    def _kept(self) -> NDArray[np.int64]:
        return self._order(KEPT)

    def _known(self, current: CurrentCorrections) -> KnownAnswers:
        return self._places.known(current, self.weights > 0)

    def _order(self, count: int) -> NDArray[np.int64]:
        with np.errstate(divide="ignore", invalid="ignore"):  # answers without a value have weight 0 and come last
            arrivals = -np.log1p(-np.minimum(self.draws, 1 - 2.0**-53)) / self.weights
        return lowest(arrivals.ravel(), min(count, len(self)))

    def _item(self, place: int, rank: int, probability: float, pool: int) -> Item:
        row, column = divmod(place, self.weights.shape[1])
        log_odds = float(self.answers.yes[row, column]) - float(self.answers.no[row, column])
        question = self.answers.questions.questions[column]
        weight, draw = float(self.weights[row, column]), float(self.draws[row, column])
        return Item(
            row=row,
            column=column,
            image_id=self.answers.image_ids[row],
            key=question.key,
            text=question.text,
            p_yes=float(expit(log_odds)),
            shown=Shown(queue=self.id, rank=rank, weight=weight, draw=draw),
            probability=probability,
            pool=pool,
        )
