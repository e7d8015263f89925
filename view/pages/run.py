"""Extractions, improvements and trainings that are not finished, read again every few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from storage.answers.progress import measure_progress
from storage.answers.schema import StoredShard
from storage.errors import AspectsError
from student.core.stored_curves import TrainingProgress, read_progress
from student.core.stored_runs import StoredRun
from teacher.engines.presets import display_name
from view.rendering import render, sources_of, thumbnail_address
from view.sources import AnswerSet, Sources

REFRESH_SECONDS = 3
NEWEST = 12  # images
EPOCHS = 6  # newest ones
MOST_RUNS = 20
SHOWN = ("loss", "val_top1", "watched_map", "lr", "images_per_second", "seconds")  # of an epoch, where it has them

router = APIRouter()


@router.get("/run")
def run(request: Request) -> HTMLResponse:
    sources = sources_of(request)
    extractions = [found for one in sources.answer_sets() if (found := _extraction(sources, one)) is not None]
    unfinished = [one for one in sources.student_runs() if not one.finished][:MOST_RUNS]
    return render(
        request,
        "run.html",
        title="Run",
        extractions=extractions,
        improvements=[one for one in sources.improvements() if one.record.stopped is None],
        trainings=[_training(one) for one in unfinished],
        refresh=REFRESH_SECONDS,
    )


def _extraction(sources: Sources, one: AnswerSet) -> dict[str, Any] | None:
    """An extraction that is not complete; None for others, and for one without shards."""
    state = sources.state(one)
    if state.complete or state.problem:
        return None
    expected = None
    if sources.dataset is not None and sources.dataset.name == one.dataset:
        expected = sum(record.split in state.splits for record in sources.dataset.records)
    try:
        progress = measure_progress(one.directory, state.shard_size, expected)
    except AspectsError:
        return None
    if progress is None:
        return None
    return {
        "name": f"{one.dataset} by {display_name(state.model) if state.model else one.teacher}",
        "id": one.id,
        "progress": progress,
        "ago": max(0.0, time.time() - progress.written),
        "newest": [] if progress.newest is None else _newest(progress.newest, thumbnail_address(sources, one.dataset)),
        "splits": state.splits,
    }


def _newest(shard: StoredShard, address: Callable[..., str | None]) -> list[dict[str, Any]]:
    """The last images of a shard with their surest yes. `address` gives that of a thumbnail."""
    answers = shard.answers
    rows = []
    for row in range(len(answers.records))[-NEWEST:]:
        record, note = answers.records[row], answers.errors[row] or ""
        if answers.errors[row] is None and not np.isnan(answers.yes[row]).all():
            best = int(np.nanargmax(answers.yes[row] - answers.no[row]))
            note = f"yes: {shard.keys[best]}"
        shown = {"image_id": record.image_id, "address": address(record.image_id, 192)}
        rows.append({**shown, "label_name": record.label_name, "note": note})
    return rows


def _training(one: StoredRun) -> dict[str, Any]:
    planned = one.config.get("epochs")
    progress = read_progress(one.folder, planned if isinstance(planned, int) else None)
    return {"run": one, "progress": progress, **({} if progress is None else _epochs(progress))}


def _epochs(progress: TrainingProgress) -> dict[str, Any]:
    return {
        "names": [name for name in SHOWN if any(name in epoch for epoch in progress.epochs)],
        "epochs": progress.epochs[-EPOCHS:][::-1],
        "ago": max(0.0, time.time() - progress.written),
    }
