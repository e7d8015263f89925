"""Images of a set of answers, filtered and ordered by the address, in pages of 60; and one image with every answer."""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import HTMLResponse
from numpy.typing import NDArray

from storage.answers.browsing import Order, Selection, describe_rows, nearest_rows, select_rows
from storage.errors import AspectsError
from student.core.stored_lookups import aspects_about, predictions_about
from view.corrections import class_names
from view.rendering import link, render, sources_of
from view.sources import OpenAnswers, Sources

PAGE = 60  # images
NEAREST = 12
OTHER_SETS = 3  # shown beside an image's answers

router = APIRouter()


def selection(
    key: str | None = None,
    label: str | None = None,
    split: str | None = None,
    find: str | None = None,
    low: Annotated[float | None, Query(ge=0, le=1)] = None,
    high: Annotated[float | None, Query(ge=0, le=1)] = None,
    order: Order = "stored",
) -> Selection:
    """The filters in an address."""
    return Selection(key=key, label_name=label, split=split, find=find, low=low, high=high, order=order)


Wanted = Annotated[Selection, Depends(selection)]


def parameters_of(found: OpenAnswers, wanted: Selection) -> dict[str, Any]:
    """The address of a selection."""
    filters = {name: getattr(wanted, name) for name in ("key", "split", "find", "low", "high")}
    order = None if wanted.order == "stored" else wanted.order
    return {"answers": found.found.id, **filters, "label": wanted.label_name, "order": order}


@router.get("/images")
def images(
    request: Request, wanted: Wanted, answers: str | None = None, page: Annotated[int, Query(ge=1, le=10**6)] = 1
) -> HTMLResponse:
    found = sources_of(request).answers(answers)
    rows = select_rows(found.columns, found.summary, wanted)
    shown = rows[(page - 1) * PAGE : page * PAGE]
    return render(
        request,
        "images.html",
        title="Images",
        answers=found,
        wanted=wanted,
        parameters=parameters_of(found, wanted),
        rows=describe_rows(found.columns, shown, wanted.key).to_dicts(),
        total=len(rows),
        page=page,
        pages=max(1, math.ceil(len(rows) / PAGE)),
        questions=found.columns.header.questions.questions,
        class_names=found.columns.class_names,
        splits=found.columns.splits,
    )


@router.get("/image")
def image(
    request: Request, image_id: Annotated[str, Query(alias="id")], wanted: Wanted, answers: str | None = None
) -> HTMLResponse:
    sources = sources_of(request)
    found = sources.answers(answers)
    row = found.columns.row_of(image_id)
    if row is None:
        return _without_answers(request, found, image_id)
    context = image_context(sources, found, row)
    neighbours = _neighbours(found, select_rows(found.columns, found.summary, wanted), row)
    parameters = parameters_of(found, wanted)
    more = {"parameters": parameters, "address": link("/image", **parameters, id=image_id), **neighbours, **context}
    return render(request, "image.html", title=image_id, answers=found, **more)


def _without_answers(request: Request, found: OpenAnswers, image_id: str) -> HTMLResponse:
    """An image that only the dataset has, e.g. of a split that was not asked about. Raises HTTPException for others."""
    sources = sources_of(request)
    record = None if sources.thumbnails is None else sources.thumbnails.records.get(image_id)
    if record is None or not sources.shows(found.found.dataset):
        raise HTTPException(404, "neither these answers nor the dataset have an image with this id")
    described = {"image_id": image_id, "split": record.split, "label_name": record.label_name, "error": None}
    parameters = {"answers": found.found.id}
    context: dict[str, Any] = {
        "image": described,
        "correction": sources.corrections.current(found.found.dataset).labels.get(image_id),
        "class_names": class_names(sources, found),
        "predictions": predictions_about(sources.student_runs(), image_id, found.found.dataset),
        "parameters": parameters,
        "about_classes": False,
        "address": link("/image", **parameters, id=image_id),
    }
    nothing: dict[str, Any] = {
        "before": None,
        "after": None,
        "place": None,
        "total": 0,
        "rows": [],
        "others": [],
        "nearest": [],
    }
    return render(request, "image.html", title=image_id, answers=found, **context, **nothing)


def image_context(sources: Sources, found: OpenAnswers, row: int) -> dict[str, Any]:
    columns, label = found.columns, int(found.columns.labels[row])
    current = sources.corrections.current(found.found.dataset)
    rows, distances = nearest_rows(columns, row, NEAREST)
    nearest = describe_rows(columns, rows).to_dicts()
    described = columns.rows.row(row, named=True)
    said = aspects_about(sources.student_runs(), described["image_id"], found.found.dataset)
    return {
        "student": None if said is None else said[0],
        "about_classes": columns.header.rows_are_classes,
        "image": described,
        "correction": current.labels.get(described["image_id"]),
        "class_names": class_names(sources, found),
        "predictions": predictions_about(sources.student_runs(), described["image_id"], found.found.dataset),
        "rows": [
            {
                "key": question.key,
                "text": question.text,
                "p_yes": _known(columns.p_yes[column, row]),
                "mean": _known(found.summary.class_means[label, column]) if label >= 0 else None,
                "student": None if said is None else said[1].get(question.key),
                "corrected": current.answers.get((described["image_id"], question.text)),
            }
            for column, question in enumerate(columns.header.questions.questions)
        ],
        "others": _other_sets(sources, found, described["image_id"]),
        "nearest": [
            {**other, "note": f"differs by {100 * distance:.0f} %"}
            for other, distance in zip(nearest, distances.tolist(), strict=True)
        ],
    }


def _neighbours(found: OpenAnswers, rows: NDArray[np.int64], row: int) -> dict[str, Any]:
    """The images before and after this one in a selection, and its place there."""
    places = np.flatnonzero(rows == row)
    if not len(places):
        return {"before": None, "after": None, "place": None, "total": len(rows)}
    place = int(places[0])
    ids = found.columns.rows["image_id"]
    return {
        "before": ids[int(rows[place - 1])] if place > 0 else None,
        "after": ids[int(rows[place + 1])] if place + 1 < len(rows) else None,
        "place": place + 1,
        "total": len(rows),
    }


def _other_sets(sources: Sources, found: OpenAnswers, image_id: str) -> list[dict[str, Any]]:
    """The same image's answers in other directories of its dataset: p(yes) by question text."""
    shown: list[dict[str, Any]] = []
    for one in sources.answer_sets():
        if one.dataset != found.found.dataset or one.id == found.found.id or len(shown) == OTHER_SETS:
            continue
        try:
            other = sources.answers(one.id)
        except AspectsError:  # damaged or empty: the overview says so
            continue
        row = other.columns.row_of(image_id)
        if row is None:
            continue
        asked = other.columns.header.questions.questions
        values = {question.text: _known(other.columns.p_yes[column, row]) for column, question in enumerate(asked)}
        model = str(other.columns.header.teacher.get("model", "?"))
        shown.append({"id": one.id, "model": model, "questions": one.questions, "answers": values})
    return shown


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
