"""Select, order and compare images by their answers, over the arrays of storage/answers/columns.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from storage.answers.columns import AnswerColumns
from storage.answers.summary import AnswerSummary
from storage.statistics import surprise

# Orders other than `stored`, the store's own, need a question. `surprise`: see storage/statistics.py.
Order = Literal["stored", "yes", "no", "unsure", "surprise"]
CLASS_BINS = 10  # of histograms by class


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Filters and an order of images. None and empty text leave a filter out; `low` and `high` limit p(yes)."""

    key: str | None = None
    split: str | None = None
    label_name: str | None = None
    find: str | None = None  # part of the image id
    low: float | None = None
    high: float | None = None
    order: Order = "stored"


def select_rows(
    columns: AnswerColumns, summary: AnswerSummary, wanted: Selection, limit: int | None = None
) -> NDArray[np.int64]:
    """Return the matching rows in order, at most `limit`. An unknown key, split or class matches nothing."""
    chosen = np.ones(len(columns.rows), np.bool_)
    if wanted.split:
        chosen &= (columns.rows["split"] == wanted.split).to_numpy()
    if wanted.label_name:
        chosen &= (columns.rows["label_name"] == wanted.label_name).to_numpy()
    if wanted.find:
        chosen &= columns.rows["image_id"].str.contains(wanted.find, literal=True).to_numpy()
    if not wanted.key:
        return np.flatnonzero(chosen)[:limit]
    question = columns.question(wanted.key)
    if question is None:
        return np.empty(0, np.int64)
    p_yes = np.asarray(columns.p_yes[question])
    with np.errstate(invalid="ignore"):
        chosen &= (p_yes >= (wanted.low or 0.0)) & (p_yes <= (1.0 if wanted.high is None else wanted.high))
    rows = np.flatnonzero(chosen)
    scores = _scores(columns, summary, question, wanted.order)
    if scores is None:
        return rows[:limit]
    descending = -scores[rows]
    if limit is not None and limit < len(rows):
        # Of equal scores at the limit all are kept here, so that the first rows win.
        near = descending <= np.partition(descending, limit - 1)[limit - 1]
        rows, descending = rows[near], descending[near]
    return rows[np.argsort(descending, kind="stable")][:limit]


def _scores(columns: AnswerColumns, summary: AnswerSummary, question: int, order: Order) -> NDArray[np.floating] | None:
    """Return the scores to order images by, the highest first; None for the store's order."""
    p_yes = np.asarray(columns.p_yes[question])
    if order == "yes":
        return p_yes
    if order == "no":
        return -p_yes
    if order == "unsure":
        return -np.abs(p_yes - 0.5)
    return image_surprise(columns, summary, question) if order == "surprise" else None


def image_surprise(columns: AnswerColumns, summary: AnswerSummary, question: int) -> NDArray[np.float64]:
    """Return how much each image's answer [I] contradicts the other images of its class, in bits.

    0 without a class, without an answer, and for the only image of a class.
    """
    p_yes = np.asarray(columns.p_yes[question], np.float64)
    inside = (columns.labels >= 0) & ~np.isnan(p_yes)
    labels, values = columns.labels[inside], p_yes[inside]
    counts = summary.class_counts[labels, question]
    others = (summary.class_means[labels, question] * counts - values) / np.maximum(counts - 1, 1)
    found = np.zeros(len(p_yes))
    found[inside] = np.where(counts > 1, surprise(values, others.clip(0, 1)), 0.0)
    return found


def class_histograms(columns: AnswerColumns, question: int) -> NDArray[np.int64]:
    """Count the images of each class by p(yes), in bins of equal width [C, CLASS_BINS]."""
    p_yes = np.asarray(columns.p_yes[question])
    inside = (columns.labels >= 0) & ~np.isnan(p_yes)
    bins = np.minimum((p_yes[inside] * CLASS_BINS).astype(np.int64), CLASS_BINS - 1)
    classes = len(columns.class_names)
    found = np.bincount(columns.labels[inside] * CLASS_BINS + bins, minlength=classes * CLASS_BINS)
    return found.reshape(classes, CLASS_BINS)


def nearest_rows(columns: AnswerColumns, row: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the `count` other images with the most similar answers, and the mean absolute difference in p(yes) over
    the questions that both have an answer to. Empty for an image without answers."""
    total = np.zeros(columns.p_yes.shape[1], np.float32)
    shared = np.zeros(columns.p_yes.shape[1], np.int32)
    for values in columns.p_yes:
        if np.isnan(values[row]):
            continue
        difference = np.abs(values - values[row])
        known = ~np.isnan(difference)
        total[known] += difference[known]
        shared += known
    distance = np.where(shared > 0, total / np.maximum(shared, 1), np.inf).astype(np.float32)
    distance[row] = np.inf
    count = min(count, int(np.isfinite(distance).sum()))
    if count == 0:
        return np.empty(0, np.int64), np.empty(0, np.float32)
    rows = np.argpartition(distance, count - 1)[:count]
    rows = rows[np.argsort(distance[rows], kind="stable")]
    return rows, distance[rows]


def describe_rows(columns: AnswerColumns, rows: NDArray[np.int64], key: str | None = None) -> pl.DataFrame:
    """Return image_id, split, label_name, error and, with a `key`, p_yes of some rows, in their order."""
    found = columns.rows[rows].select("image_id", "split", "label_name", "error")
    question = columns.question(key) if key else None
    if question is None:
        return found
    return found.with_columns(pl.Series("p_yes", np.asarray(columns.p_yes[question])[rows]))
