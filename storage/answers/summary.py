"""Summaries of answers by question and class, computed once for each state of a directory and cached.

Everything that a page about all questions shows is here, so that it does not depend on the number of images.
"""

from __future__ import annotations

import dataclasses
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from storage.answers.columns import AnswerColumns
from storage.filesystem import write_file
from storage.statistics import cluster_order, effective_rank, information_of_sums

BINS = 20  # of histograms of p(yes)
SUREST = 12  # images kept for each question and side
RANK_ROWS = 20_000  # at most so many images, evenly spaced, count for the effective rank
SUMMARY_VERSION = 1
SUMMARY_FILE = f"summary-{SUMMARY_VERSION}.npz"


@dataclass(frozen=True, kw_only=True)
class AnswerSummary:
    """Of Q questions and C classes (`AnswerColumns.class_names`).

    answered [Q]              images with an answer
    mean [Q]                  mean p(yes), NaN without answers
    histogram [Q, BINS]       images by p(yes), in bins of equal width
    bits [Q]                  mutual information with the class, NaN without answers about labelled images
    surest_yes [Q, SUREST]    rows with the highest p(yes), the highest first, -1 where there are fewer
    surest_no [Q, SUREST]     rows with the lowest p(yes), the lowest first
    class_images [C]          images of each class
    class_counts [C, Q]       of them, those with an answer
    class_means [C, Q]        mean p(yes), NaN without answers
    class_order [C]           classes so that similar ones are next to each other
    question_order [Q]        questions likewise
    rank                      effective rank of the answers
    errors                    images without any answer
    """

    answered: NDArray[np.int64]
    mean: NDArray[np.float64]
    histogram: NDArray[np.int64]
    bits: NDArray[np.float64]
    surest_yes: NDArray[np.int64]
    surest_no: NDArray[np.int64]
    class_images: NDArray[np.int64]
    class_counts: NDArray[np.int64]
    class_means: NDArray[np.float64]
    class_order: NDArray[np.int64]
    question_order: NDArray[np.int64]
    rank: NDArray[np.float64]
    errors: NDArray[np.int64]

    @classmethod
    def of(cls, columns: AnswerColumns) -> Self:
        """Compute the summary, one question at a time."""
        questions, classes = len(columns.p_yes), len(columns.class_names)
        labelled = columns.labels >= 0
        counts, sums = np.zeros((classes, questions), np.int64), np.zeros((classes, questions))
        by_question = []
        for column in range(questions):
            p_yes = np.asarray(columns.p_yes[column])
            answered = ~np.isnan(p_yes)
            inside = labelled & answered
            counts[:, column] = np.bincount(columns.labels[inside], minlength=classes)
            sums[:, column] = np.bincount(columns.labels[inside], weights=p_yes[inside], minlength=classes)
            by_question.append(_of_question(p_yes, answered))
        with np.errstate(invalid="ignore"):
            means = sums / counts
        answered_Q, mean, histogram, yes, no = (np.stack(parts) for parts in zip(*by_question, strict=True))
        return cls(
            answered=answered_Q,
            mean=mean,
            histogram=histogram,
            bits=information_of_sums(counts, sums),
            surest_yes=yes,
            surest_no=no,
            class_images=np.bincount(columns.labels[labelled], minlength=classes),
            class_counts=counts,
            class_means=means,
            class_order=cluster_order(means),
            question_order=cluster_order(means.T),
            rank=np.array(_rank(columns)),
            errors=np.array(columns.rows["error"].is_not_null().sum()),
        )

    def separating(self, first: int, second: int) -> int | None:
        """Return the question whose mean p(yes) differs most between two classes; None if no question has answers about
        both."""
        gaps = np.abs(self.class_means[first] - self.class_means[second])
        return None if np.isnan(gaps).all() else int(np.nanargmax(gaps))

    def write(self, path: Path) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, **vars(self))
        write_file(path, buffer.getvalue())

    @classmethod
    def read(cls, path: Path) -> Self:
        with np.load(path) as found:
            return cls(**{field.name: found[field.name] for field in dataclasses.fields(cls)})


def read_summary(columns: AnswerColumns) -> AnswerSummary:
    """Return the summary from the cache; a missing one is computed and written there."""
    path = columns.folder / SUMMARY_FILE
    if path.is_file():
        return AnswerSummary.read(path)
    found = AnswerSummary.of(columns)
    found.write(path)
    return found


def _of_question(
    p_yes: NDArray[np.float32], answered: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return answered, mean, histogram, surest_yes and surest_no of one question."""
    known = p_yes[answered]
    mean = known.mean(dtype=np.float64) if len(known) else np.nan
    places = np.minimum((known * BINS).astype(np.int64), BINS - 1)
    histogram = np.bincount(places, minlength=BINS)
    yes = _highest(np.where(answered, p_yes, -1), len(known))
    no = _highest(np.where(answered, -p_yes, -2), len(known))
    return np.array(len(known)), np.array(mean), histogram, yes, no


def _highest(values: NDArray[np.float32], known: int) -> NDArray[np.int64]:
    """Return the rows of the SUREST highest of the `known` values, padded with -1. Of equal ones the first row comes
    first."""
    count = min(SUREST, known)
    found = np.full(SUREST, -1, np.int64)
    if count:
        least = np.partition(values, len(values) - count)[len(values) - count]
        rows = np.concatenate([np.flatnonzero(values > least), np.flatnonzero(values == least)[:count]])[:count]
        found[:count] = rows[np.argsort(-values[rows], kind="stable")]
    return found


def _rank(columns: AnswerColumns) -> float:
    step = -(-columns.p_yes.shape[1] // RANK_ROWS)
    values = np.asarray(columns.p_yes[:, ::step]).T
    values = values[~np.isnan(values).any(axis=1)]
    return effective_rank(values) if len(values) > 1 else float("nan")
