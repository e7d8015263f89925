"""Select the questions that together distinguish the classes best.

A question's value depends on the others: a copy adds nothing, and two answers together may carry information that
neither has alone. One classifier with pairs of answers therefore scores the whole set, and questions are removed one by
one, each time the one whose removal costs least.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from storage.answers.directories import audits_of
from storage.answers.read import Answers, find_answers, read_answers
from storage.answers.store import AnswersDamaged, AnswersMissing
from storage.errors import InputInvalid
from storage.questions import QuestionSet
from teacher.questions.audit import Audit
from teacher.questions.audit_files import read_audit

RIDGES = np.geomspace(1e-3, 1e2, 11)  # relative to the kernel's mean diagonal
MOST_IMAGES = 600  # the cost of one score is cubic in it
SHARE_AT_ONCE = 0.1  # share of a large set removed between two scorings of all others


class SelectionImpossible(InputInvalid):
    """There is nothing to select by; the message says what is missing and what to do."""


def select_from_audit(path: Path, asked: QuestionSet, count: int, store: str) -> tuple[QuestionSet, Audit]:
    """Return `count` questions of the audited set in `path`, and the audit; weak questions are used if there are too
    few to keep.

    Raises SelectionImpossible for a set that has not been audited, has changed since, or has too few good questions,
    and AnswersMissing if the store lacks the audit's answers.
    """
    audit = read_audit(path)
    if audit is None:
        raise SelectionImpossible(f"{path} has no audit yet; run 'aspects questions audit {path}' first")
    if audit.fingerprint != asked.fingerprint:
        raise SelectionImpossible(f"{path} has changed since its audit; run 'aspects questions audit {path}' again")
    columns = _fit(audit, count)
    if len(columns) < count:
        raise SelectionImpossible(
            f"only {len(columns)} of {len(asked)} questions in {path} are fit to be chosen, not {count}; "
            f"choose fewer, or write more"
        )
    answers = find_audited_answers(store, audit, asked)
    rows = [row for row, error in enumerate(answers.errors) if error is None]
    labels = [answers.label_names[row] for row in rows]
    chosen = select_questions(answers.p_yes[rows][:, columns], labels, count)
    return QuestionSet(tuple(asked.questions[columns[place]] for place in chosen)), audit


def find_audited_answers(store: str, audit: Audit, asked: QuestionSet) -> Answers:
    """Return all answers of the audit's teacher if the store has them, otherwise those about its sample."""
    for place in (store, audits_of(store)):
        try:
            found = read_answers(find_answers(place, audit.dataset, teacher=audit.teacher, questions=asked))
            if not found.has_gaps:
                return found
        except AnswersDamaged:
            raise
        except AnswersMissing:
            continue
    raise AnswersMissing(f"store {store} does not have the audit's answers; name its store, or run the audit again")


def _fit(audit: Audit, count: int) -> list[int]:
    """Return the columns of the questions that may be selected."""
    kept = [column for column, question in enumerate(audit.questions) if question.verdict == "keep"]
    if len(kept) >= count:
        return kept
    return [column for column, question in enumerate(audit.questions) if question.verdict in ("keep", "weak")]


def select_questions(
    p_yes: NDArray[np.floating], label_names: Sequence[str], count: int, *, seed: int = 0
) -> list[int]:
    """Return the columns of the `count` questions to keep, in order.

    `p_yes` is [I, Q] without gaps, `label_names` are the images' classes. All columns if there are no more than
    `count`. Greedy backward elimination (Guyon and Elisseeff, JMLR 2003, section 4.2) by `leave_one_out_error`.
    """
    values, labels = _sample(2 * p_yes.astype(np.float64) - 1, label_names, seed)
    kept = list(range(values.shape[1]))
    while len(kept) > count:
        products = values[:, kept] @ values[:, kept].T
        errors = []
        for column in kept:
            own = values[:, [column]]
            errors.append(leave_one_out_error(products - own @ own.T, len(kept) - 1, labels))
        dropped = min(len(kept) - count, max(1, math.floor(SHARE_AT_ONCE * (len(kept) - count))))
        for place in sorted(np.argsort(errors, kind="stable")[:dropped].tolist(), reverse=True):
            del kept[place]
    return kept


def leave_one_out_error(products: NDArray[np.float64], questions: int, labels: NDArray[np.int64]) -> float:
    """Return the mean squared error of the classes' one-hot labels [I, C], each image predicted from all others.

    Kernel ridge regression with the kernel (1 + x.y / Q)^2 of the answers x, y in -1 .. 1, which includes every pair of
    answers; `products` are x.y [I, I] over `questions` answers. The error has a closed form (Rifkin and Lippert, "Notes
    on regularized least squares", 2007); the ridge is the one of RIDGES with the lowest error.
    """
    kernel = (1 + products / max(1, questions)) ** 2
    kernel = kernel - kernel.mean(axis=0) - kernel.mean(axis=1)[:, None] + kernel.mean()
    targets = np.eye(labels.max() + 1)[labels]
    targets = targets - targets.mean(axis=0)
    eigenvalues, vectors = eigh(kernel, check_finite=False)
    eigenvalues = eigenvalues.clip(0)
    rotated = vectors.T @ targets
    scale = max(float(eigenvalues.mean()), 1e-12)
    squares = vectors**2
    found = []
    for ridge in RIDGES * scale:
        # I - H, whose diagonal turns residuals into leave-one-out residuals; the mean counts as one direction.
        left = ridge / (eigenvalues + ridge)
        residuals = vectors @ (left[:, None] * rotated)
        kept_diagonal = (squares @ left - 1 / len(labels)).clip(1e-6)
        found.append(float(((residuals / kept_diagonal[:, None]) ** 2).mean()))
    return min(found)


def _sample(
    values: NDArray[np.float64], label_names: Sequence[str], seed: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    _, labels = np.unique(np.asarray(label_names), return_inverse=True)
    chosen = np.sort(np.random.default_rng([seed, 6]).permutation(len(values))[:MOST_IMAGES])
    return values[chosen], labels[chosen]
