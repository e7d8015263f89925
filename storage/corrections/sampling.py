"""The checked answers of queues as one sample of all answers, whatever the order was when each of them was drawn.

Each answer is drawn from those that are not corrected yet, with a probability that is recorded with its correction. The
total of any value over all answers is then what is known before the draw, plus the drawn value divided by its
probability (Des Raj, JASA 51, 1956): unbiased for every draw, even if earlier answers have changed the order. The draws
are averaged with the weights of Farquhar, Gal and Rainforth (On Statistical Bias in Active Learning, ICLR 2021), with
which a sample of all answers gives the exact total.

Corrections of earlier releases have no probability. They are a priority sample (Duffield, Lund and Thorup, Journal of
the ACM 54(6), 2007): if the first k answers in the order of weight / draw are corrected and t is weight / draw of the
next one, an answer is among them with probability min(1, weight / t).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from storage.answers.read import Answers
from storage.corrections.apply import is_stale
from storage.corrections.current import CurrentCorrections
from storage.corrections.rows import NO, YES, Correction
from storage.corrections.weights import answer_weights, expected_errors, uniform_draws

VALUES = {YES: 1.0, NO: 0.0}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """S corrected answers. `rows` and `columns` [S] index the answers, `yes` [S] is the person's answer: 1 yes, 0 no,
    NaN unsure.

    Sums over the sample, each value multiplied by its weight in `weights` [S], estimate sums over all answers without
    bias. `drawn` [S] is False for answers that people corrected elsewhere: they count for what they are, since all of
    them are known, but without draws nothing is known about the others.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    weights: NDArray[np.float64]
    yes: NDArray[np.float64]
    drawn: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class KnownAnswers:
    """S corrected answers in the order of recording: places in the flat answers and corrections. A correction of
    another version of the image counts as unsure."""

    places: NDArray[np.int64]
    corrections: Sequence[Correction]


class AnswerPlaces:
    """Places in the flat answers [I * Q], by image id and text of the question."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._rows = {image_id: row for row, image_id in enumerate(answers.image_ids)}
        self._columns = {text: column for column, text in enumerate(answers.questions.texts)}

    def known(self, current: CurrentCorrections, answered: NDArray[np.bool_]) -> KnownAnswers:
        """Return the corrections of answers that the teacher has `answered` [I, Q]."""
        places, rows = [], []
        for correction in sorted(current.answers.values(), key=lambda row: (row.at, row.correction)):
            row, column = self._rows.get(correction.image_id), self._columns.get(correction.text or "")
            if row is None or column is None or not answered[row, column]:
                continue
            stale = is_stale(correction, self._answers.image_sha256[row])
            places.append(row * len(self._columns) + column)
            rows.append(replace(correction, value=None) if stale else correction)
        return KnownAnswers(places=np.array(places, np.int64), corrections=rows)


def sample_of(answers: Answers, known: KnownAnswers, earlier: PrioritySample) -> Sample:
    """Return the sample that the corrections make: those of `earlier` releases first, then the others in the order of
    recording."""
    rows = known.corrections
    probability = np.array([np.nan if row.probability is None else row.probability for row in rows], float)
    weights = draw_weights(probability, np.array([row.pool or 0 for row in rows], float))
    drawn = ~np.isnan(probability)
    prefix, inverse = earlier.of(known.places[~drawn])
    if len(prefix):
        share = len(prefix) / (len(prefix) + drawn.sum())
        at = {place: number for number, place in enumerate(known.places.tolist())}
        first = np.array([at[place] for place in prefix.tolist()])
        weights *= 1 - share
        weights[first] += share * inverse
        drawn[first] = True
        order = np.concatenate([first, np.setdiff1d(np.arange(len(rows)), first)])
    else:
        order = np.arange(len(rows))
    yes = np.array([np.nan if row.value is None else VALUES[row.value] for row in rows], float)
    found = np.unravel_index(known.places[order], answers.yes.shape)
    return Sample(rows=found[0], columns=found[1], weights=weights[order], yes=yes[order], drawn=drawn[order])


def draw_weights(probability: NDArray[np.float64], pool: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights [S] of known answers in their order: `probability` [S] is that of being drawn from `pool` [S]
    answers, NaN for an answer that is known without a draw."""
    drawn = ~np.isnan(probability)
    shares = np.zeros(len(probability))
    if (drawn & (pool <= 1)).any():  # all answers are known after the last draw
        shares[np.flatnonzero(drawn & (pool <= 1))[-1]] = 1
    elif drawn.any():
        shares[drawn] = 1 / (pool[drawn] * (pool[drawn] - 1))
        shares /= shares.sum()
    later = np.maximum(shares.sum() - np.cumsum(shares), 0.0)
    return later + np.divide(shares, probability, out=np.zeros(len(shares)), where=drawn)


class PrioritySample:
    """The sample of releases that recorded no probabilities."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._order: NDArray[np.int64] | None = None
        self._weights = self._priorities = np.zeros(0)

    def of(self, places: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return those of `places` that come before the first other answer, in their order, with the inverse of the
        probability of being among them."""
        if len(places) == 0:
            return places, np.zeros(0)
        order, weights, priorities = self._first(len(places) + 1)
        missing = np.flatnonzero(~np.isin(order, places))
        size = int(missing[0]) if len(missing) else len(order)
        probability = np.ones(size)
        if size < len(order):
            probability = np.minimum(1.0, weights[:size] / priorities[size])
        return order[:size], 1 / probability

    def _first(self, count: int) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Return the first places, at least `count` where there are as many, their weights and their priorities."""
        if self._order is None or len(self._order) < count:
            answers = self._answers
            weights = answer_weights(answers, expected_errors(answers)).ravel()
            priorities = weights / uniform_draws(answers.image_ids, answers.questions.texts).ravel()
            self._order = lowest(-priorities, min(2 * count, int((weights > 0).sum())))
            self._weights, self._priorities = weights[self._order], priorities[self._order]
        return self._order, self._weights, self._priorities


def lowest(values: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Return the indices of the `count` lowest values, the lowest first; of equal ones the first comes first."""
    if count == 0:
        return np.zeros(0, np.int64)
    chosen = np.argpartition(values, count - 1)[:count]
    return chosen[np.lexsort((chosen, values[chosen]))]
