"""Blend the answers of several teachers to the same questions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from storage.answers.read import Answers
from storage.errors import InputInvalid
from storage.statistics import sigmoid

Weighting = Literal["equal", "agreement"]


class BlendImpossible(InputInvalid):
    """The answers cannot be blended; the message says why and what to do."""


def blend_answers(parts: Sequence[Answers], weighting: Weighting = "equal") -> Answers:
    """Return the weighted mean of the teachers' log-odds of yes, as answers of a teacher of its own.

    Where a teacher has no answer, the others count. With "agreement" each teacher has a weight for each question, see
    `agreement`. The order of `parts` does not matter. All are about images, or all about classes: then rows are
    classes. Raises BlendImpossible for different questions, levels or datasets.
    """
    _check(parts)
    if len(parts) == 1:
        return parts[0]
    parts = sorted(parts, key=lambda part: part.teacher)
    if parts[0].level == "class":
        parts = [_by_class(part) for part in parts]
    ids = list(dict.fromkeys(image_id for part in parts for image_id in part.image_ids))
    rows_TN = np.array([part.rows_of(ids) for part in parts])
    log_odds_TNQ = np.stack([_log_odds(part, rows) for part, rows in zip(parts, rows_TN, strict=True)])
    known_TNQ = ~np.isnan(log_odds_TNQ)
    weights_TQ = np.ones((len(parts), log_odds_TNQ.shape[2])) if weighting == "equal" else agreement(log_odds_TNQ)
    weights_TNQ = np.where(known_TNQ, weights_TQ[:, None], 0.0)
    # A teacher of weight 0 counts where there is no other.
    alone_NQ = known_TNQ.any(axis=0) & (weights_TNQ.sum(axis=0) == 0)
    weights_TNQ = np.where(alone_NQ, known_TNQ, weights_TNQ)
    with np.errstate(invalid="ignore"):
        mean_NQ = (weights_TNQ * np.where(known_TNQ, log_odds_TNQ, 0.0)).sum(axis=0) / weights_TNQ.sum(axis=0)
        yes, no = (-np.logaddexp(0, sign * mean_NQ).astype(np.float32) for sign in (-1, 1))
    first_N = np.argmax(_answered(parts, rows_TN), axis=0)
    source = [(parts[teacher], int(rows_TN[teacher, row])) for row, teacher in enumerate(first_N)]
    return replace(
        parts[0],
        teacher=f"{'mean' if weighting == 'equal' else weighting}({','.join(part.teacher for part in parts)})",
        image_ids=tuple(ids),
        image_sha256=tuple(part.image_sha256[row] for part, row in source),
        splits=tuple(part.splits[row] for part, row in source),
        label_names=tuple(part.label_names[row] for part, row in source),
        errors=tuple(part.errors[row] for part, row in source),
        yes=yes,
        no=no,
    )


def agreement(log_odds_TNQ: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return weights [T, Q]: the mean correlation of a teacher's p(yes) with that of each other teacher.

    Correlations that are negative or not defined count as 0; where all are 0, weights are equal. Of two teachers both
    have the same.
    """
    p_TNQ = sigmoid(log_odds_TNQ)
    teachers, _, questions = p_TNQ.shape
    weights = np.zeros((teachers, questions))
    for first, second in itertools.combinations(range(teachers), 2):
        for column in range(questions):
            pair = p_TNQ[[first, second], :, column]
            pair = pair[:, ~np.isnan(pair).any(axis=0)]
            if pair.shape[1] > 1 and (pair.std(axis=1) > 0).all():
                weights[[first, second], column] += max(0.0, float(np.corrcoef(pair)[0, 1])) / (teachers - 1)
    return np.where(weights.sum(axis=0) > 0, weights, 1.0)


def _check(parts: Sequence[Answers]) -> None:
    first = parts[0]
    for part in parts[1:]:
        pair = f"teachers {first.teacher} and {part.teacher}"
        if (part.questions.keys, part.questions.texts) != (first.questions.keys, first.questions.texts):
            raise BlendImpossible(
                f"{pair} answered different questions; name one set by --questions, or leave one of them out"
            )
        if part.level != first.level or part.dataset != first.dataset:
            raise BlendImpossible(f"{pair} answered about different things; leave one of them out")
    teachers = [part.teacher for part in parts]
    if repeated := sorted(teacher for teacher in set(teachers) if teachers.count(teacher) > 1):
        raise BlendImpossible(f"teacher {repeated[0]} is named more than once; name each once")


def _by_class(answers: Answers) -> Answers:
    """Return a row for each class: imported answers have one for each image, the same for all images of a class."""
    if answers.rows == "class":
        return replace(answers, image_ids=answers.label_names)
    first: dict[str, int] = {}
    for row, (name, error) in enumerate(zip(answers.label_names, answers.errors, strict=True)):
        if error is None and name:
            first.setdefault(name, row)
    rows = list(first.values())
    return replace(
        answers,
        rows="class",
        image_ids=tuple(first),
        image_sha256=(None,) * len(rows),
        splits=tuple(answers.splits[row] for row in rows),
        label_names=tuple(first),
        errors=(None,) * len(rows),
        yes=answers.yes[rows],
        no=answers.no[rows],
    )


def _log_odds(answers: Answers, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    found = answers.yes.astype(np.float64)[rows] - answers.no[rows]
    return np.where((rows >= 0)[:, None], found, np.nan)


def _answered(parts: Sequence[Answers], rows_TN: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return 2 where a teacher has answered about a row, 1 where it has the reason why not, 0 where it has no row."""
    return np.array(
        [
            [0 if row < 0 else 2 if part.errors[row] is None else 1 for row in rows]
            for part, rows in zip(parts, rows_TN.tolist(), strict=True)
        ]
    )
