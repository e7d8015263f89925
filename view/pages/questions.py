"""The list of questions: text, histogram of p(yes), the surest images, and what the answers say about the class."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from numpy.typing import NDArray

from view.rendering import render, sources_of
from view.sources import OpenAnswers, Sources

SHOWN = 4  # images on each side of a question

Sort = Literal["set", "bits", "yes", "key"]

router = APIRouter()


@router.get("/questions")
def questions(request: Request, answers: str | None = None, sort: Sort = "set") -> HTMLResponse:
    sources = sources_of(request)
    found = sources.answers(answers)
    context = questions_context(sources, found, sort)
    return render(request, "questions.html", title="Questions", answers=found, **context)


def questions_context(sources: Sources, found: OpenAnswers, sort: Sort = "set") -> dict[str, Any]:
    audit = sources.audit(found.found.questions)
    audited = {} if audit is None else {one.key: one for one in audit.questions}
    return {
        "sort": sort,
        "audited": bool(audited),
        "improvements": [
            one for one in sources.improvements() if one.record.inputs.get("dataset") == found.found.dataset
        ],
        "questions": [question_row(found, column, audited) for column in _order(found, sort)],
    }


def question_row(found: OpenAnswers, column: int, audited: dict[str, Any]) -> dict[str, Any]:
    """What the list shows of the question in `column`."""
    summary, question = found.summary, found.columns.header.questions.questions[column]
    return {
        "key": question.key,
        "text": question.text,
        "group": question.group,
        "histogram": summary.histogram[column].tolist(),
        "mean": float(summary.mean[column]),
        "bits": float(summary.bits[column]),
        "yes": image_ids(found, summary.surest_yes[column][:SHOWN]),
        "no": image_ids(found, summary.surest_no[column][:SHOWN]),
        "audit": audited.get(question.key),
    }


def image_ids(found: OpenAnswers, rows: NDArray[np.int64]) -> list[str]:
    """The ids of images in these rows; -1 is none."""
    return found.columns.rows["image_id"].gather(rows[rows >= 0]).to_list()


def _order(found: OpenAnswers, sort: Sort) -> list[int]:
    """The columns of the questions; those without a value last."""
    columns = list(range(len(found.columns.keys)))
    if sort == "key":
        return sorted(columns, key=lambda column: found.columns.keys[column])
    if sort == "set":
        return columns
    values = np.nan_to_num(found.summary.bits if sort == "bits" else found.summary.mean, nan=-1.0)
    return np.argsort(-values, kind="stable").tolist()
