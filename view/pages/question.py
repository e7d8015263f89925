"""One question: its answers by class, the images at their ends, the audit, and how well students repeat it."""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse

from storage.answers.browsing import Selection, class_histograms, describe_rows, image_surprise, select_rows
from student.core.stored_lookups import aspect_scores
from view.rendering import decimal, render, sources_of
from view.sources import OpenAnswers, Sources

SHOWN = 8  # images of each kind
CLASSES = 60  # with a histogram of their own; the page class x question has all

router = APIRouter()


@router.get("/question")
def question(request: Request, key: str, answers: str | None = None) -> HTMLResponse:
    sources = sources_of(request)
    found = sources.answers(answers)
    column = found.columns.question(key)
    if column is None:
        raise HTTPException(404, f"the question set has no question '{key}'")
    context = question_context(sources, found, column)
    corrected = sources.corrections.current(found.found.dataset).answers
    for row in (row for group in context["groups"] for row in group["rows"]):
        row["corrected"] = corrected.get((row["image_id"], context["text"]))
    return render(request, "question.html", title=context["text"], answers=found, **context)


def question_context(sources: Sources, found: OpenAnswers, column: int) -> dict[str, Any]:
    asked = found.columns.header.questions.questions[column]
    audit = sources.audit(found.found.questions)
    judged = None if audit is None else next((one for one in audit.questions if one.key == asked.key), None)
    keys = found.columns.keys
    return {
        "key": asked.key,
        "text": asked.text,
        "group": asked.group,
        "negation": asked.negation,
        "histogram": found.summary.histogram[column].tolist(),
        "mean": float(found.summary.mean[column]),
        "bits": float(found.summary.bits[column]),
        "answered": int(found.summary.answered[column]),
        "images": len(found.columns.rows),
        "classes": _classes(found, column),
        "all_classes": len(found.columns.class_names),
        "groups": _groups(found, column),
        "audit": judged,
        "students": aspect_scores(sources.student_runs(), asked.key, found.found.dataset),
        "before": keys[column - 1] if column > 0 else None,
        "after": keys[column + 1] if column + 1 < len(keys) else None,
    }


def _classes(found: OpenAnswers, column: int) -> list[dict[str, Any]]:
    """Classes by mean p(yes), the highest first; of many the highest and the lowest."""
    means, counts = found.summary.class_means[:, column], found.summary.class_counts[:, column]
    order = [place for place in np.argsort(-means, kind="stable").tolist() if counts[place]]
    if len(order) > CLASSES:
        order = [*order[: CLASSES // 2], *order[-(CLASSES // 2) :]]
    histograms = class_histograms(found.columns, column)
    return [
        {
            "name": found.columns.class_names[place],
            "images": int(counts[place]),
            "mean": float(means[place]),
            "histogram": histograms[place].tolist(),
        }
        for place in order
    ]


def _groups(found: OpenAnswers, column: int) -> list[dict[str, Any]]:
    """Images of each kind: title, order (as in `Selection`) and rows for cards."""
    key = found.columns.keys[column]
    titles = {
        "yes": "Surest yes",
        "no": "Surest no",
        "unsure": "Least sure",
        "surprise": "Contradict their class",
    }
    groups = []
    for order, title in titles.items():
        wanted = Selection(key=key, order=order)  # type: ignore[arg-type]  # a key of `titles`
        rows = select_rows(found.columns, found.summary, wanted, SHOWN)
        shown = describe_rows(found.columns, rows, key).to_dicts()
        if order == "surprise":
            bits = image_surprise(found.columns, found.summary, column)[rows]
            means = found.summary.class_means[:, column]
            kept = []
            for row, place, value in zip(shown, found.columns.labels[rows].tolist(), bits.tolist(), strict=True):
                if place >= 0 and value > 0:
                    kept.append({**row, "note": f"class {decimal(100 * means[place], 0)} %, {value:.1f} bits"})
            shown = kept
        groups.append({"order": order, "title": title, "rows": shown})
    return groups
