"""Suspicious labels: what answers, and students that never saw an image's label, say its class is.

Each source gives log p(class) of every image, by a fit to other images. `pool` combines them and estimates how likely
each given label is wrong; the table lists the images by that, the most suspicious first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit, log_softmax

from storage.answers.read import Answers
from storage.datasets.base import ImageDataset, ImageRecord
from student.classification.class_profile import ClassProfile, evidence
from student.classification.confusion import ClassMeans, ConfusedPair, most_confused
from student.classification.examples import log_odds_of
from student.classification.label_noise import Pooled, has_source, pool
from student.classification.out_of_fold import OutOfFold, audited_records
from student.classification.targets import ImageLabels, class_posterior, means_by_class
from student.core.examples import ExamplesInvalid

QUESTIONS_AGAINST = 3
CHUNK = 8192  # images whose evidence is in memory at once
LIKELY_WRONG = 0.5  # probability from which a label counts as suspicious unless another is asked for

# Values of the column `status`, in the order of the table.
JUDGED, UNLABELLED, LONE, NOT_KNOWN = "judged", "no label", "only image of its class", "nothing known"


@dataclass(frozen=True, kw_only=True)
class LabelAudit:
    """A row of `table` for each image: the judged labels by the probability that they are wrong, the highest first,
    then images without a label by the probability of their most likely class, then the others.

    Columns: image_id, split, label, status ("judged", "no label", "only image of its class", or "nothing known" where
    no source says anything), wrong (the probability that the label is wrong), p_label (of the label by all sources),
    suggested (the most likely class other than the label), p_suggested; for each source answers_class, its most likely
    class, answers_p and answers_p_label, student_class, ...; against, the keys of the questions that speak most against
    the label, with p(yes) and evidence (nats, below 0) in against_p_yes and against_evidence. Probabilities are 0..1.
    Null where a value does not exist.

    `wrong_share` is the estimated share of wrong labels, `weights` those of the sources, and `confused` the pairs of
    classes between label and most likely class.
    """

    table: pl.DataFrame
    class_names: tuple[str, ...]
    wrong_share: float
    weights: Mapping[str, float]
    confused: tuple[ConfusedPair, ...]

    def suspicious(self, least: float = LIKELY_WRONG) -> pl.DataFrame:
        """The rows of the labels that are wrong with that probability or a higher one."""
        return self.table.filter(pl.col("wrong") >= least)


def audit_labels(
    dataset: ImageDataset,
    answers: Answers | None = None,
    students: OutOfFold | None = None,
    *,
    splits: Sequence[str] | None = None,
) -> LabelAudit:
    """Judge the labels of all images of `splits`, by default of all splits, by answers, by students, or by both.

    Raises ExamplesInvalid where there is neither, for answers about classes or another dataset, for students of other
    classes, and where no label can be judged.
    """
    if len(dataset.class_names) < 2:
        raise ExamplesInvalid(f"dataset '{dataset.name}' has a single class, so that no label can be wrong")
    records = audited_records(dataset, splits)
    labels_N = np.array([record.label for record in records], dtype=np.int64)
    images = ImageLabels(labels=labels_N, trained=labels_N >= 0, classes=len(dataset.class_names), seed=0)
    log_odds_NQ = None if answers is None else _log_odds(dataset, records, answers)
    sources: dict[str, NDArray[np.float64]] = {}
    if log_odds_NQ is not None:
        sources["answers"] = by_answers(log_odds_NQ, images)
    if students is not None:
        _require_same_classes(dataset, students)
        seen_NC = students.rows_of([record.image_id for record in records]).astype(np.float64)
        sources["student"] = without_lone_labels(seen_NC, images)
    if not sources:
        raise ExamplesInvalid("labels are judged by answers or by students, and neither is given")
    # Each is calibrated by itself first, so that its own probabilities can be shown.
    sources = {name: _calibrated(name, log_p_NC, labels_N) for name, log_p_NC in sources.items()}
    pooled = pool(sources, labels_N)
    if not pooled.judged_N.any():
        raise ExamplesInvalid(
            f"no label of dataset '{dataset.name}' can be judged: that takes two or more labelled images of a class "
            f"with answers or students"
        )
    table = _table(records, dataset.class_names, labels_N, sources, pooled)
    if answers is not None and log_odds_NQ is not None:
        table = table.with_columns(*_against(log_odds_NQ, labels_N, answers.questions.keys, dataset.class_names))
    means = None if answers is None else ClassMeans.of_answers(dataset, answers)
    return LabelAudit(
        table=_ordered(table),
        class_names=tuple(dataset.class_names),
        wrong_share=pooled.wrong_share,
        weights=pooled.weights,
        confused=most_confused(_confusion(labels_N, pooled, len(dataset.class_names)), dataset.class_names, means),
    )


def by_answers(log_odds_NQ: NDArray[np.floating], images: ImageLabels) -> NDArray[np.float64]:
    """log p(class | answers) [N, C] of every image by a fit to the answers about other images; NaN without answers."""
    answered_N = ~np.isnan(log_odds_NQ).all(axis=1)
    fitted = ImageLabels(
        labels=images.labels, trained=images.trained & answered_N, classes=images.classes, seed=images.seed
    )
    if not fitted.trained.any():
        return np.full((len(log_odds_NQ), images.classes), np.nan)
    found = log_softmax(class_posterior(log_odds_NQ, fitted), axis=1)
    return without_lone_labels(found, images)


def without_lone_labels(log_p_NC: NDArray[np.float64], images: ImageLabels) -> NDArray[np.float64]:
    """The same with NaN for the only image of a class that a source knows: without it, the source has not seen the
    class, and could only speak against it."""
    known_N = images.trained & ~np.isnan(log_p_NC).any(axis=1)
    counts_C = np.bincount(images.labels[known_N], minlength=images.classes)
    lone_N = known_N & (counts_C[images.labels] < 2)
    return np.where(lone_N[:, None], np.nan, log_p_NC)


def _log_odds(dataset: ImageDataset, records: Sequence[ImageRecord], answers: Answers) -> NDArray[np.float32]:
    if answers.level == "class":
        raise ExamplesInvalid(
            f"the answers of teacher {answers.teacher} are about classes: they follow the label, and cannot judge it; "
            f"name a teacher that was asked about images"
        )
    return log_odds_of(dataset, records, answers)


def _require_same_classes(dataset: ImageDataset, students: OutOfFold) -> None:
    if students.class_names != tuple(dataset.class_names):
        raise ExamplesInvalid(
            f"the out-of-fold students know other classes than dataset '{dataset.name}' has; train them again"
        )


def _table(
    records: Sequence[ImageRecord],
    class_names: Sequence[str],
    labels_N: NDArray[np.int64],
    sources: Mapping[str, NDArray[np.float64]],
    pooled: Pooled,
) -> pl.DataFrame:
    """One row for each of `records`, in their order, without the questions."""
    others_NC = _without_own(pooled.log_p_NC, labels_N)
    known_N = has_source(sources)
    suggested_N = others_NC.argmax(axis=1)
    columns: dict[str, pl.Series] = {
        "image_id": pl.Series([record.image_id for record in records], dtype=pl.String),
        "split": pl.Series([record.split for record in records], dtype=pl.String),
        "label": _names(class_names, labels_N, labels_N >= 0),
        "status": pl.Series(_status(labels_N, pooled), dtype=pl.String),
        "wrong": _numbers(pooled.wrong_N, pooled.judged_N),
        "p_label": _numbers(np.exp(_of_class(pooled.log_p_NC, labels_N)), pooled.judged_N),
        "suggested": _names(class_names, suggested_N, known_N),
        "p_suggested": _numbers(np.exp(_of_class(pooled.log_p_NC, suggested_N)), known_N),
    }
    for source, log_p_NC in sources.items():
        says_N, heard_N = np.nan_to_num(log_p_NC).argmax(axis=1), has_source({source: log_p_NC})
        columns[f"{source}_class"] = _names(class_names, says_N, heard_N)
        columns[f"{source}_p"] = _numbers(np.exp(_of_class(log_p_NC, says_N)), heard_N)
        columns[f"{source}_p_label"] = _numbers(np.exp(_of_class(log_p_NC, labels_N)), heard_N & (labels_N >= 0))
    return pl.DataFrame(columns)


def _calibrated(name: str, log_p_NC: NDArray[np.float64], labels_N: NDArray[np.int64]) -> NDArray[np.float64]:
    silent_N = np.isnan(log_p_NC).any(axis=1)
    return np.where(silent_N[:, None], np.nan, pool({name: log_p_NC}, labels_N).log_p_NC)


def _status(labels_N: NDArray[np.int64], pooled: Pooled) -> list[str]:
    counts_C = np.bincount(labels_N[labels_N >= 0], minlength=pooled.log_p_NC.shape[1])
    lone_N = counts_C[labels_N] < 2
    found = np.select([pooled.judged_N, labels_N < 0, lone_N], [JUDGED, UNLABELLED, LONE], NOT_KNOWN)
    return found.tolist()


def _without_own(log_p_NC: NDArray[np.float64], labels_N: NDArray[np.int64]) -> NDArray[np.float64]:
    """The same with -inf for the class of the label."""
    others_NC = log_p_NC.copy()
    labelled = np.flatnonzero(labels_N >= 0)
    others_NC[labelled, labels_N[labelled]] = -np.inf
    return others_NC


def _of_class(log_p_NC: NDArray[np.float64], classes_N: NDArray[np.int64]) -> NDArray[np.float64]:
    return log_p_NC[np.arange(len(log_p_NC)), classes_N]


def _names(class_names: Sequence[str], classes_N: NDArray[np.int64], known_N: NDArray[np.bool_]) -> pl.Series:
    chosen = [int(label) if known else None for label, known in zip(classes_N, known_N, strict=True)]
    return pl.Series(class_names, dtype=pl.String).gather(pl.Series(chosen, dtype=pl.UInt32))


def _numbers(values_N: NDArray[np.float64], known_N: NDArray[np.bool_]) -> pl.Series:
    return pl.Series(np.where(known_N, values_N, np.nan).astype(np.float32)).fill_nan(None)


def _against(
    log_odds_NQ: NDArray[np.float32], labels_N: NDArray[np.int64], keys: Sequence[str], class_names: Sequence[str]
) -> list[pl.Series]:
    """Of each image with a label the questions with the least evidence for it, at most QUESTIONS_AGAINST and only those
    that speak against it."""
    p_yes_NQ = expit(log_odds_NQ)
    means_CQ = means_by_class(p_yes_NQ, labels_N, len(class_names))
    rows = tuple(tuple(None if np.isnan(p) else p for p in row) for row in means_CQ.tolist())
    profile = ClassProfile(class_names=tuple(class_names), aspects=tuple(keys), p_yes=rows)
    found: dict[str, list[list[object] | None]] = {"against": [], "against_p_yes": [], "against_evidence": []}
    for start in range(0, len(labels_N), CHUNK):
        part = slice(start, start + CHUNK)
        evidence_BQ = np.nan_to_num(evidence(p_yes_NQ[part], labels_N[part], profile))
        order_BK = np.argsort(evidence_BQ, axis=1, kind="stable")[:, :QUESTIONS_AGAINST]
        for row, (label, order) in enumerate(zip(labels_N[part], order_BK, strict=True)):
            speaking = [q for q in order if label >= 0 and evidence_BQ[row, q] < 0]
            found["against"].append([keys[q] for q in speaking])
            found["against_p_yes"].append([float(p_yes_NQ[start + row, q]) for q in speaking])
            found["against_evidence"].append([float(evidence_BQ[row, q]) for q in speaking])
    kinds = {"against": pl.String}
    return [pl.Series(name, values, dtype=pl.List(kinds.get(name, pl.Float32))) for name, values in found.items()]


def _ordered(table: pl.DataFrame) -> pl.DataFrame:
    place = pl.col("status").replace_strict({JUDGED: 0, UNLABELLED: 1, LONE: 2, NOT_KNOWN: 3}, return_dtype=pl.Int8)
    keys = [place, -pl.col("wrong").fill_null(0), pl.col("p_label"), -pl.col("p_suggested").fill_null(0), "image_id"]
    return table.sort(keys, nulls_last=True)


def _confusion(labels_N: NDArray[np.int64], pooled: Pooled, classes: int) -> NDArray[np.int64]:
    """Judged images by label (rows) and most likely class (columns), [C, C]."""
    judged = np.flatnonzero(pooled.judged_N)
    cells = labels_N[judged] * classes + pooled.log_p_NC[judged].argmax(axis=1)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def flattened(table: pl.DataFrame) -> pl.DataFrame:
    """The same with the questions as text, for CSV: `has_wings 0.02; has_hooves 0.96`."""
    if "against" not in table.columns:
        return table
    texts = [
        "; ".join(f"{key} {p:.2f}" for key, p in zip(keys, values, strict=True))
        for keys, values in table.select("against", "against_p_yes").iter_rows()
    ]
    return table.with_columns(against=pl.Series(texts, dtype=pl.String)).drop("against_p_yes", "against_evidence")
