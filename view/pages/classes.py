"""Class x question: mean p(yes) as a heat map, similar classes and similar questions next to each other."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from view.rendering import page_of, render, sources_of
from view.sources import OpenAnswers

ROWS = 120  # classes on a page
STRONG = 0.55  # from this mean on, text is light on dark

router = APIRouter()


@router.get("/classes")
def classes(
    request: Request, answers: str | None = None, page: Annotated[int, Query(ge=1, le=100_000)] = 1
) -> HTMLResponse:
    found = sources_of(request).answers(answers)
    context = classes_context(found, page)
    return render(request, "classes.html", title="Class × question", answers=found, **context)  # noqa: RUF001


def classes_context(found: OpenAnswers, page: int = 1) -> dict[str, Any]:
    summary, questions = found.summary, found.columns.header.questions.questions
    shown, pages = page_of(summary.class_order.tolist(), page, ROWS)
    columns = summary.question_order.tolist()
    return {
        "page": page,
        "pages": pages,
        "strong": STRONG,
        "questions": [questions[column] for column in columns],
        "classes": [
            {
                "name": found.columns.class_names[place],
                "images": int(summary.class_images[place]),
                "cells": [_known(summary.class_means[place, column]) for column in columns],
            }
            for place in shown
        ],
    }


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
