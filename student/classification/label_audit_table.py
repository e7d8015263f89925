"""The table of a label audit: a row for each image, with what each source says and the questions against its label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit

from student.classification.class_profile import ClassProfile, evidence
from student.classification.label_noise import Pooled, Values, has_source
from student.classification.targets import means_by_class

QUESTIONS_AGAINST = 3
CHUNK = 8192  # images whose evidence is in memory at once
# Values of the column `status`, in the order of the table.
JUDGED, UNLABELLED, LONE, NOT_KNOWN = "judged", "no label", "only image of its class", "nothing known"


@dataclass(frozen=True, kw_only=True)
class AuditedImages:
    """N images in any order; labels are -1 where there is none."""

    image_ids: Sequence[str]
    splits: Sequence[str]
    labels_N: NDArray[np.int64]
    class_names: tuple[str, ...]


def audit_table(images: AuditedImages, sources: Mapping[str, Values], pooled: Pooled) -> pl.DataFrame:
    """One row for each image, in their order, without the questions."""
    labels_N, names = images.labels_N, images.class_names
    known_N, labelled_N = has_source(sources), images.labels_N >= 0
    suggested_N = _without_own(pooled.log_p_NC, labels_N).argmax(axis=1)
    columns: dict[str, pl.Series] = {
        "image_id": pl.Series(images.image_ids, dtype=pl.String),
        "split": pl.Series(images.splits, dtype=pl.String),
        "label": _names(names, labels_N, labelled_N),
        "status": pl.Series(_status(labels_N, pooled), dtype=pl.String),
        "wrong": _numbers(pooled.wrong_N, pooled.judged_N),
        "p_label": _numbers(np.exp(_of_class(pooled.log_p_NC, labels_N)), pooled.judged_N),
        "suggested": _names(names, suggested_N, known_N),
        "p_suggested": _numbers(np.exp(_of_class(pooled.log_p_NC, suggested_N)), known_N),
    }
    for source, log_p_NC in sources.items():
        says_N, heard_N = np.nan_to_num(log_p_NC).argmax(axis=1), has_source({source: log_p_NC})
        columns[f"{source}_class"] = _names(names, says_N, heard_N)
        columns[f"{source}_p"] = _numbers(np.exp(_of_class(log_p_NC, says_N)), heard_N)
        columns[f"{source}_p_label"] = _numbers(np.exp(_of_class(log_p_NC, labels_N)), heard_N & labelled_N)
    return pl.DataFrame(columns)


def questions_against(images: AuditedImages, log_odds_NQ: NDArray[np.floating], keys: Sequence[str]) -> list[pl.Series]:
    """Of each image with a label the questions with the least evidence for it, at most QUESTIONS_AGAINST and only those
    that speak against it: keys, p(yes), evidence."""
    labels_N, p_yes_NQ = images.labels_N, expit(log_odds_NQ)
    profile = _profile(images, p_yes_NQ, keys)
    parts = []
    for start in range(0, len(labels_N), CHUNK):
        part = slice(start, start + CHUNK)
        evidence_BQ = np.nan_to_num(evidence(p_yes_NQ[part], labels_N[part], profile))
        evidence_BQ[labels_N[part] < 0] = 0
        order_BK = np.argsort(evidence_BQ, axis=1, kind="stable")[:, :QUESTIONS_AGAINST]
        least_BK = np.take_along_axis(evidence_BQ, order_BK, axis=1)
        rows, places = np.nonzero(least_BK < 0)
        columns = order_BK[rows, places]
        values = {"question": columns, "against_p_yes": p_yes_NQ[start + rows, columns]}
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


def _profile(images: AuditedImages, p_yes_NQ: NDArray[np.floating], keys: Sequence[str]) -> ClassProfile:
    means_CQ = means_by_class(p_yes_NQ, images.labels_N, len(images.class_names))
    rows = tuple(tuple(None if np.isnan(p) else p for p in row) for row in means_CQ.tolist())
    return ClassProfile(class_names=images.class_names, aspects=tuple(keys), p_yes=rows)


def _status(labels_N: NDArray[np.int64], pooled: Pooled) -> list[str]:
    counts_C = np.bincount(labels_N[labels_N >= 0], minlength=pooled.log_p_NC.shape[1])
    lone_N = np.asarray(counts_C[labels_N] < 2)
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


def ordered(table: pl.DataFrame) -> pl.DataFrame:
    """As `LabelAudit.table` is ordered."""
    place = pl.col("status").replace_strict({JUDGED: 0, UNLABELLED: 1, LONE: 2, NOT_KNOWN: 3}, return_dtype=pl.Int8)
    keys = [place, -pl.col("wrong").fill_null(0), pl.col("p_label"), -pl.col("p_suggested").fill_null(0), "image_id"]
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
