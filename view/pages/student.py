"""A student: its scores on a split, confusions, calibration, accuracy by confidence, and how well it learnt aspects."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import polars as pl
from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse

from storage.statistics import cluster_order
from student.core.stored_predictions import (
    PredictionOrder,
    accuracy_by_confidence,
    confusion_counts,
    disagreements,
    select_predictions,
)
from student.core.stored_runs import (
    StoredEvaluation,
    StoredReliability,
    StoredRun,
    read_stored_aspects,
    read_stored_evaluation,
    read_stored_predictions,
)
from view.rendering import percent, render, sources_of
from view.sources import OpenAnswers, Sources

MATRIX = 40  # classes of a matrix; of more, only the pairs are listed
PAIRS = 12  # of confused classes
ASPECTS = 12  # of each kind
PAGE = 60  # images
DISAGREEMENTS = 12  # images
KEPT = 4  # splits of students
WIDTH = 240  # of the diagram of calibration

router = APIRouter()


@router.get("/student")
def student(
    request: Request, run: str | None = None, split: str | None = None, answers: str | None = None
) -> HTMLResponse:
    sources = sources_of(request)
    runs = classifiers(sources)
    chosen = choose(runs, run)
    found = answers_for(sources, answers, chosen)
    context: dict[str, Any] = {"runs": runs, "chosen": chosen, "split": None, "evaluation": None}
    if chosen is not None and chosen.splits:
        split = split or default_split(chosen)
        assert split is not None
        evaluation = read_stored_evaluation(chosen, split)
        if evaluation is None:
            raise HTTPException(404, f"run {chosen.name} has no evaluation on split '{split}'")
        context |= {"split": split, **student_context(chosen, split, evaluation, found)}
    return render(request, "student.html", title="Student", answers=found, **context)


def classifiers(sources: Sources) -> list[StoredRun]:
    """Those with an evaluation first."""
    return sorted((run for run in sources.student_runs() if run.kind == "classifier"), key=lambda run: not run.splits)


def choose(runs: list[StoredRun], name: str | None) -> StoredRun | None:
    """The run of this name, by default one that learnt aspects. Raises HTTPException for an unknown name."""
    if name is None:
        return max(runs, key=lambda run: (bool(run.splits), bool(run.aspects)), default=None)
    for run in runs:
        if run.name == name:
            return run
    raise HTTPException(404, f"there is no run '{name}' in the folders of --runs")


def default_split(run: StoredRun) -> str | None:
    """The split whose evaluation is shown first; None where the run has none."""
    splits = run.splits
    return "test" if "test" in splits else next(iter(splits), None)


def answers_for(sources: Sources, answers: str | None, run: StoredRun | None) -> OpenAnswers | None:
    """The answers that links lead to: those of the run's teacher, if the store has them."""
    sets = sources.answer_sets()
    if answers is None and run is not None:
        same = [one for one in sets if one.dataset == run.dataset and run.teacher in (None, one.teacher)]
        answers = same[0].id if same else None
    return sources.answers(answers) if sets else None


def student_context(
    run: StoredRun, split: str, evaluation: StoredEvaluation, found: OpenAnswers | None
) -> dict[str, Any]:
    texts = {aspect.key: aspect.text for aspect in run.aspects}
    scored = sorted(
        (score for score in evaluation.aspects if score.auroc is not None), key=lambda score: -(score.auroc or 0.0)
    )
    aspects = [
        {"key": score.key, "text": texts.get(score.key, score.key), "auroc": score.auroc, "ece": score.ece}
        for score in scored
    ]
    half = min(ASPECTS, math.ceil(len(aspects) / 2))
    tables = _Tables(read_stored_predictions(run, split), read_stored_aspects(run, split))
    return {
        "evaluation": evaluation,
        "best": aspects[:half],
        "worst": aspects[half:][-ASPECTS:][::-1],
        "diagrams": [
            {"title": title, **_diagram(found)}
            for title, found in (("as trained", evaluation.reliability), ("calibrated", evaluation.calibrated))
            if found is not None
        ],
        "groups": sorted(evaluation.groups, key=lambda group: group.top1),
        "classes": sorted((one for one in evaluation.per_class if one.images), key=lambda one: one.top1 or 0.0),
        **_about_images(tables, run, found),
    }


@dataclass(frozen=True, eq=False)
class _Tables:
    """Predictions and aspects of a split as they were read."""

    predictions: pl.DataFrame | None
    aspects: pl.DataFrame | None


_kept: OrderedDict[tuple[int, int, int], tuple[object, dict[str, Any]]] = OrderedDict()
_lock = threading.Lock()


def _about_images(tables: _Tables, run: StoredRun, found: OpenAnswers | None) -> dict[str, Any]:
    """Confusions, abstention and disagreements over all images of a split. Of the last few requests the results are
    kept, with the tables, which are the same objects while their files do not change."""
    objects = (tables.predictions, tables.aspects, None if found is None else found.columns)
    key = (id(objects[0]), id(objects[1]), id(objects[2]))
    with _lock:
        if key not in _kept:
            _kept[key] = objects, _compute_about_images(tables, run, found)
        _kept.move_to_end(key)
        while len(_kept) > KEPT:
            _kept.popitem(last=False)
        return _kept[key][1]


def _compute_about_images(tables: _Tables, run: StoredRun, found: OpenAnswers | None) -> dict[str, Any]:
    shown: dict[str, Any] = {"matrix": None, "pairs": [], "abstention": []}
    if tables.predictions is not None:
        counts = confusion_counts(tables.predictions, run.class_names)
        shown = {
            "matrix": _matrix(counts, run.class_names) if len(run.class_names) <= MATRIX else None,
            "pairs": [{**pair, "question": _separating(found, pair)} for pair in _pairs(counts, run.class_names)],
            "abstention": accuracy_by_confidence(tables.predictions),
        }
    return {**shown, "disagreements": _disagreements(run, tables.aspects, found)}


def _disagreements(run: StoredRun, table: pl.DataFrame | None, found: OpenAnswers | None) -> list[dict[str, Any]]:
    """Cards of the images about which student and teacher differ most."""
    if table is None or found is None or found.found.dataset != run.dataset:
        return []
    columns = found.columns
    rows = disagreements(table, columns.rows["image_id"], columns.p_yes, columns.keys, DISAGREEMENTS)
    return [
        {
            "image_id": row["image_id"],
            "label_name": row["key"],
            "note": f"student {percent(row['student'])}, teacher {percent(row['teacher'])}",
        }
        for row in rows
    ]


def _matrix(counts: np.ndarray[Any, np.dtype[np.int64]], class_names: tuple[str, ...]) -> dict[str, Any]:
    """Rows in an order in which confused classes are next to each other: name, and count and share of each cell."""
    totals = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shares = counts / totals
    order = cluster_order(shares + shares.T).tolist()
    return {
        "names": [class_names[place] for place in order],
        "rows": [
            {
                "name": class_names[row],
                "cells": [(int(counts[row, column]), float(shares[row, column])) for column in order],
            }
            for row in order
        ],
    }


def _pairs(counts: np.ndarray[Any, np.dtype[np.int64]], class_names: tuple[str, ...]) -> list[dict[str, Any]]:
    """The labels and predicted classes that are confused most, the worst first."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    cells = [divmod(int(cell), len(wrong)) for cell in np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]]
    return [
        {"label": class_names[row], "predicted": class_names[column], "images": int(wrong[row, column])}
        for row, column in cells
        if wrong[row, column]
    ]


def _separating(found: OpenAnswers | None, pair: dict[str, Any]) -> dict[str, Any] | None:
    """The question that tells two confused classes apart best, by the teacher's answers."""
    if found is None or not {pair["label"], pair["predicted"]} <= set(found.columns.class_names):
        return None
    first, second = (found.columns.class_names.index(pair[name]) for name in ("label", "predicted"))
    column = found.summary.separating(first, second)
    if column is None:
        return None
    question = found.columns.header.questions.questions[column]
    means = (float(found.summary.class_means[place, column]) for place in (first, second))
    return {"key": question.key, "text": question.text, "means": tuple(means)}


def _diagram(found: StoredReliability) -> dict[str, Any]:
    """Places of the bins in a square of WIDTH: the accuracy of each against its mean confidence."""
    most = max((one.images for one in found.bins), default=1)
    points = [
        {
            "x": round(WIDTH * one.confidence, 1),
            "y": round(WIDTH * (1 - one.accuracy), 1),
            "r": round(3 + 5 * math.sqrt(one.images / most), 1),
            "text": f"{one.images} images: confidence {percent(one.confidence)}, accuracy {percent(one.accuracy)}",
        }
        for one in found.bins
    ]
    return {"ece": found.ece, "temperature": found.temperature, "points": points, "width": WIDTH}


@router.get("/predictions")
def predictions(
    request: Request,
    run: str,
    split: str,
    label: str | None = None,
    predicted: str | None = None,
    wrong: bool = False,
    order: PredictionOrder = "wrong",
    page: Annotated[int, Query(ge=1, le=10**6)] = 1,
    answers: str | None = None,
) -> HTMLResponse:
    sources = sources_of(request)
    chosen = choose(classifiers(sources), run)
    table = None if chosen is None else read_stored_predictions(chosen, split)
    if chosen is None or table is None:
        raise HTTPException(404, f"run '{run}' has no predictions on split '{split}'; run 'aspects evaluate' again")
    found = select_predictions(table, label=label, predicted=predicted, wrong=wrong, order=order)
    rows = [
        {
            "image_id": row["image_id"],
            "label_name": row["label"],
            "note": f"{row['probability']:.0%} {'right' if row['label'] == row['predicted'] else row['predicted']}",
        }
        for row in found.slice((page - 1) * PAGE, PAGE).iter_rows(named=True)
    ]
    filters = {"run": run, "split": split, "label": label, "predicted": predicted, "order": order}
    return render(
        request,
        "predictions.html",
        title="Predictions",
        answers=answers_for(sources, answers, chosen),
        chosen=chosen,
        filters={**filters, "wrong": "1" if wrong else None, "answers": answers},
        rows=rows,
        total=len(found),
        page=page,
        pages=max(1, math.ceil(len(found) / PAGE)),
    )
