"""Class x question: mean p(yes) as a heat map, similar classes and similar questions next to each other."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from view.rendering import link, page_of, render, sources_of
from view.sources import OpenAnswers

ROWS = 120  # classes on a page

router = APIRouter()


@router.get("/classes")
def classes(
    request: Request, answers: str | None = None, page: Annotated[int, Query(ge=1, le=100_000)] = 1
) -> HTMLResponse:
    found = sources_of(request).answers(answers)
    context = classes_context(found, page)
    return render(request, "classes.html", title="Class × question", answers=found, **context)  # noqa: RUF001


def classes_context(found: OpenAnswers, page: int = 1, link: Callable[..., str] = link) -> dict[str, Any]:
    """`link` makes the addresses of the cells."""
    summary, questions = found.summary, found.columns.header.questions.questions
    shown, pages = page_of(summary.class_order.tolist(), page, ROWS)
    columns = summary.question_order.tolist()
    # An address is joined from two parts: encoding every cell's would take most of the page's time.
    starts = [link("/images", answers=found.found.id, order="surprise", key=questions[place].key) for place in columns]
    classes = []
    for place in shown:
        name = found.columns.class_names[place]
        end, means = urlencode({"label": name}), (100 * summary.class_means[place, columns]).tolist()
        cells = [
            None if math.isnan(mean) else Cell(f"{start}&{end}", f"{mean:.0f}", f"{name}, {questions[column].key}")
            for start, mean, column in zip(starts, means, columns, strict=True)
        ]
        classes.append({"name": name, "images": int(summary.class_images[place]), "cells": cells})
    return {"page": page, "pages": pages, "questions": [questions[column] for column in columns], "classes": classes}


class Cell(NamedTuple):
    """A cell of the heat map: its address, mean p(yes) in per cent, and a tooltip."""

    href: str
    shown: str
    title: str
