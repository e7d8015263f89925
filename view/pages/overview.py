"""The overview: what the store holds, what it cost, and how experiments turned out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from storage.answers.costs import Cost, costs_of
from storage.answers.damage import AnswersMissing
from storage.answers.predicted import budget_of
from student.core.stored_runs import StoredCell, StoredDifference, StoredResults
from teacher.engines.presets import display_name
from view.rendering import MISSING, render, sources_of
from view.sources import AnswerSet, OpenAnswers, Sources

METRICS = {"top1": "top-1", "map": "mAP", "val_top1": "validation top-1", "worst_group": "worst group"}
WIDTH, EDGE = 400, 12  # of a dot plot

router = APIRouter()


@router.get("/")
def overview(request: Request, answers: str | None = None) -> HTMLResponse:
    sources = sources_of(request)
    try:
        found = sources.answers(answers)
    except AnswersMissing:
        if answers:
            raise
        found = None
    context = overview_context(sources, found)
    heading = found.found.dataset if found else "Store"
    return render(request, "overview.html", title="Overview", heading=heading, answers=found, **context)


def overview_context(sources: Sources, found: OpenAnswers | None) -> dict[str, Any]:
    return {
        "sets": [_set(sources, one) for one in sources.answer_sets()],
        "facts": None if found is None else _facts(found),
        "experiments": [_experiment(results) for results in sources.experiments()],
    }


def _set(sources: Sources, one: AnswerSet) -> dict[str, Any]:
    """A row of the table of answer sets."""
    state = sources.state(one)
    expected = None
    if sources.dataset is not None and sources.dataset.name == one.dataset and state.splits:
        expected = sum(record.split in state.splits for record in sources.dataset.records)
    return {
        "id": one.id,
        "dataset": one.dataset,
        "teacher": one.teacher,
        "fingerprint": one.questions,
        "model": display_name(state.model) if state.model else MISSING,
        "questions": state.questions,
        "images": state.images,
        "errors": state.errors,
        "complete": state.complete,
        "problem": state.problem,
        "expected": expected if expected != state.images else None,
    }


def _facts(found: OpenAnswers) -> dict[str, Any]:
    columns, summary = found.columns, found.summary
    splits = columns.rows["split"].value_counts(sort=True)
    bits = summary.bits[~np.isnan(summary.bits)]
    return {
        "dataset": found.found.dataset,
        "model": display_name(str(columns.header.teacher.get("model", "?"))),
        "images": len(columns.rows) - int(summary.errors),
        "classes": len(columns.class_names),
        "questions": len(columns.keys),
        "rank": float(summary.rank),
        "bits": float(bits.max()) if len(bits) else None,
        "mass": columns.facts.get("answer_mass"),
        "errors": int(summary.errors),
        "budget": budget_of(columns.facts),
        "splits": list(splits.iter_rows()),
        "runs": _costs(costs_of(columns.facts)),
    }


def _costs(costs: Sequence[Cost]) -> list[dict[str, Any]]:
    rows = [(f"{number}", cost, False) for number, cost in enumerate(costs, start=1)]
    if len(costs) > 1:
        rows.append(("all", Cost.total(costs), True))
    names = [*Cost.__slots__, "images_per_second"]
    return [
        {"name": name, "total": total, **{field: getattr(cost, field) for field in names}} for name, cost, total in rows
    ]


def _experiment(results: StoredResults) -> dict[str, Any]:
    """A table and dot plot; all its intervals have one scale."""
    gains = [gain for cell in results.main for gain in (cell.gain, cell.answers_gain) if gain is not None]
    ends = [end for gain in gains for end in (gain.low, gain.high, gain.mean) if end is not None]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    scale = Scale(low, high)
    return {
        "name": results.folder.name,
        "dataset": results.dataset,
        "split": results.split,
        "images": results.images,
        "metric": METRICS.get(results.main[0].metric, results.main[0].metric),
        "zero": scale.at(0.0),
        "cells": [_cell(cell, scale) for cell in results.main],
    }


class Scale:
    """Places of values from `low` to `high` in a drawing that is WIDTH wide."""

    def __init__(self, low: float, high: float) -> None:
        self._low, self._size = low, max(high - low, 1e-9)

    def at(self, value: float) -> float:
        return round(EDGE + (value - self._low) / self._size * (WIDTH - 2 * EDGE), 1)


def _cell(cell: StoredCell, scale: Scale) -> dict[str, Any]:
    gains = [
        _gain(gain, scale, what=what, css=css)
        for gain, what, css in (
            (cell.gain, "over labels alone", "labels"),
            (cell.answers_gain, f"over {cell.twin}", "twin"),
        )
        if gain is not None
    ]
    return {
        "name": cell.cell,
        "mean": cell.mean,
        "seeds": len(cell.values),
        "gains": gains,
        "over_labels": _points(cell.gain),
        "over_twin": _points(cell.answers_gain),
    }


def _gain(gain: StoredDifference, scale: Scale, *, what: str, css: str) -> dict[str, Any]:
    low, high = (gain.mean if end is None else end for end in (gain.low, gain.high))
    return {
        "what": what,
        "css": css,
        "text": _points(gain),
        "low": scale.at(low),
        "high": scale.at(high),
        "at": scale.at(gain.mean),
    }


def _points(gain: StoredDifference | None) -> str:
    """A difference of shares in percentage points, with its interval."""
    if gain is None:
        return MISSING
    mean = f"{100 * gain.mean:+.2f}"
    return mean if gain.low is None or gain.high is None else f"{mean} ({100 * gain.low:+.2f}, {100 * gain.high:+.2f})"
