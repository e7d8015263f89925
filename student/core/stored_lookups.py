"""What the classifiers of a folder of runs say about one question or one image, read without torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl

from student.core.stored_runs import (
    StoredRun,
    read_stored_aspects,
    read_stored_evaluation,
    read_stored_predictions,
)


def aspect_scores(runs: Iterable[StoredRun], key: str, dataset: str) -> list[dict[str, Any]]:
    """How well classifiers of `dataset` repeat the teacher on one question: run, split, images, auroc and ece, the
    best AUROC first."""
    found = []
    for run in runs:
        if run.kind != "classifier" or run.dataset != dataset:
            continue
        for split in run.splits:
            evaluation = read_stored_evaluation(run, split)
            for score in evaluation.aspects if evaluation else ():
                if score.key == key:
                    values = {"images": score.images, "auroc": score.auroc, "ece": score.ece}
                    found.append({"run": run.name, "split": split, **values})
    return sorted(found, key=lambda row: -(row["auroc"] or 0.0))


def predictions_about(runs: Iterable[StoredRun], image_id: str, dataset: str) -> list[dict[str, Any]]:
    """What classifiers of `dataset` say about one image: run, split and the columns of the predictions."""
    found = []
    for run in runs:
        if run.kind != "classifier" or run.dataset != dataset:
            continue
        for split in run.splits:
            predictions = read_stored_predictions(run, split)
            if predictions is not None:
                rows = predictions.filter(pl.col("image_id") == image_id).to_dicts()
                found += [{"run": run.name, "split": split, **row} for row in rows]
    return found


def aspects_about(runs: Iterable[StoredRun], image_id: str, dataset: str) -> tuple[str, dict[str, float]] | None:
    """p(yes) of the aspects of one image by key, of the first classifier of `dataset` that was evaluated on it, with
    the name of its run."""
    for run in runs:
        if run.kind == "classifier" and run.dataset == dataset and run.aspects:
            for split in run.splits:
                table = read_stored_aspects(run, split)
                rows = [] if table is None else table.filter(pl.col("image_id") == image_id).to_dicts()
                if rows:
                    return run.name, {key: value for key, value in rows[0].items() if key != "image_id"}
    return None
