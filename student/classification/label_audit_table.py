"""The table of a label audit: a row for each image, with what each source says and the questions against its label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit

from student.classification.evidence import evidence
from student.classification.label_noise import Pooled, Source, Values

QUESTIONS_AGAINST = 3
FIRST_COLUMNS = ("image_id", "split", "label", "status", "wrong", "p_label", "suggested", "p_suggested")
CHUNK = 8192  # images whose classes are in memory at once
# Values of the column `status`, in the order of the table.
JUDGED, UNLABELLED, LONE, NOT_KNOWN = "judged", "no label", "only image of its class", "nothing known"


@dataclass(frozen=True, kw_only=True)
class AuditedImages:
    """N images in any order; labels are -1 where there is none."""

    image_ids: Sequence[str]
    splits: Sequence[str]
    labels_N: NDArray[np.int64]
    class_names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A row of `table` for each image, in their order, without the questions. `confusion_CC`: judged images by label
    (rows) and most likely class (columns); `wrong_share`: the mean probability that a judged label is wrong."""

    table: pl.DataFrame
    confusion_CC: NDArray[np.int64]
    wrong_share: float


def judge(images: AuditedImages, pooled: Pooled, sources: Mapping[str, Source]) -> Judgement:
    """Judge the labels, CHUNK images at a time. `sources` have columns of their own."""
    classes = len(images.class_names)
    counts, wrong = np.zeros(classes**2, dtype=np.int64), 0.0
    parts = []
    for start in range(0, len(images.labels_N), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(images.labels_N)))
        log_p_MC, judged_M = pooled.log_p(rows), pooled.judged[rows]
        wrong_M = pooled.wrong(rows, log_p_MC)
        parts.append(_table(images, pooled, sources, rows, log_p_MC, wrong_M))
        cells = images.labels_N[rows[judged_M]] * classes + log_p_MC[judged_M].argmax(axis=1)
        counts += np.bincount(cells, minlength=classes**2)
        wrong += float(wrong_M[judged_M].sum())
    table = pl.concat(parts).with_columns(status=pl.Series(_status(images.labels_N, pooled), dtype=pl.String))
    share = wrong / max(int(pooled.judged.sum()), 1)
    return Judgement(
        table=table.select(pl.col(FIRST_COLUMNS), pl.exclude(FIRST_COLUMNS)),
        confusion_CC=counts.reshape(classes, -1),
        wrong_share=share,
    )


def _table(
    images: AuditedImages,
    pooled: Pooled,
    sources: Mapping[str, Source],
    rows: NDArray[np.int64],
    log_p_MC: Values,
    wrong_M: Values,
) -> pl.DataFrame:
    """The images in `rows`, without their status."""
    labels_M, names = images.labels_N[rows], images.class_names
    known_M, judged_M, labelled_M = pooled.known[rows], pooled.judged[rows], labels_M >= 0
    suggested_M = _without_own(log_p_MC, labels_M).argmax(axis=1)
    part = slice(int(rows[0]), int(rows[-1]) + 1)
    columns: dict[str, pl.Series] = {
        "image_id": pl.Series(images.image_ids[part], dtype=pl.String),
        "split": pl.Series(images.splits[part], dtype=pl.String),
        "label": _names(names, labels_M, labelled_M),
        "wrong": _numbers(wrong_M, judged_M),
        "p_label": _numbers(np.exp(_of_class(log_p_MC, labels_M)), judged_M),
        "suggested": _names(names, suggested_M, known_M),
        "p_suggested": _numbers(np.exp(_of_class(log_p_MC, suggested_M)), known_M),
    }
    for name, source in sources.items():
        own_MC, heard_M = source.normalised(rows), source.known_N[rows]
        says_M = own_MC.argmax(axis=1)
        columns[f"{name}_class"] = _names(names, says_M, heard_M)
        columns[f"{name}_p"] = _numbers(np.exp(_of_class(own_MC, says_M)), heard_M)
        columns[f"{name}_p_label"] = _numbers(np.exp(_of_class(own_MC, labels_M)), heard_M & labelled_M)
    return pl.DataFrame(columns)


def questions_against(
    images: AuditedImages, log_odds_NQ: NDArray[np.floating], means_CQ: NDArray[np.float64], keys: Sequence[str]
) -> list[pl.Series]:
    """Of each image with a label the questions with the least evidence for it, at most QUESTIONS_AGAINST and only those
    that speak against it: keys, p(yes), evidence. `means_CQ` are the mean p(yes) of the classes."""
    labels_N, parts = images.labels_N, []
    for start in range(0, len(labels_N), CHUNK):
        part = slice(start, start + CHUNK)
        p_yes_BQ = expit(log_odds_NQ[part])
        evidence_BQ = np.nan_to_num(evidence(p_yes_BQ, labels_N[part], means_CQ))
        evidence_BQ[labels_N[part] < 0] = 0
        order_BK = np.argsort(evidence_BQ, axis=1, kind="stable")[:, :QUESTIONS_AGAINST]
        least_BK = np.take_along_axis(evidence_BQ, order_BK, axis=1)
        rows, places = np.nonzero(least_BK < 0)
        columns = order_BK[rows, places]
        values = {"question": columns, "against_p_yes": p_yes_BQ[rows, columns]}
        parts.append(pl.DataFrame({"row": start + rows, **values, "against_evidence": least_BK[rows, places]}))
    names = pl.Series(keys, dtype=pl.String)
    flat = pl.concat(parts)
    flat = flat.select(
        "row",
        names.gather(flat["question"]).alias("against"),
        pl.col("against_p_yes", "against_evidence").cast(pl.Float32),
    )
    lists = flat.group_by("row", maintain_order=True).agg(pl.all())
    every = pl.DataFrame({"row": np.arange(len(labels_N))}).join(lists, on="row", how="left", maintain_order="left")
    return every.drop("row").with_columns(pl.all().fill_null([])).get_columns()


def _status(labels_N: NDArray[np.int64], pooled: Pooled) -> list[str]:
    counts_C = np.bincount(labels_N[labels_N >= 0], minlength=len(pooled.noise_CC))
    named_N = pooled.known & (labels_N < 0)
    lone_N = (labels_N >= 0) & (counts_C[labels_N] < 2)
    found = np.select([pooled.judged, named_N, lone_N], [JUDGED, UNLABELLED, LONE], NOT_KNOWN)
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


def ordered(table: pl.DataFrame) -> pl.DataFrame:
    """As `LabelAudit.table` is ordered."""
    place = pl.col("status").replace_strict({JUDGED: 0, UNLABELLED: 1, LONE: 2, NOT_KNOWN: 3}, return_dtype=pl.Int8)
    # Of images without a label the least sure ones first: to label them helps the others most (bench/next_labels.py).
    sure = pl.col("p_suggested").fill_null(0)
    sure = pl.when(pl.col("status") == UNLABELLED).then(sure).otherwise(-sure)
    keys = [place, -pl.col("wrong").fill_null(0), pl.col("p_label"), sure, "image_id"]
    return table.sort(keys, nulls_last=True)


def flattened(table: pl.DataFrame) -> pl.DataFrame:
    """The same with the questions as text, for CSV: `has_wings 0.02; has_hooves 0.96`."""
    if "against" not in table.columns:
        return table
    texts = [
        "; ".join(f"{key} {p:.2f}" for key, p in zip(keys, values, strict=True))
        for keys, values in table.select("against", "against_p_yes").iter_rows()
    ]
    return table.with_columns(against=pl.Series(texts, dtype=pl.String)).drop("against_p_yes", "against_evidence")
