"""Labels in the order of how likely they are wrong, with what answers and students say; confused classes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import polars as pl
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse

from storage.corrections import CurrentCorrections
from view.corrections import class_names
from view.rendering import link, render, sources_of
from view.sources import OpenAnswers

if TYPE_CHECKING:  # scikit-learn takes seconds, and no other page needs it
    from student.classification.label_audit import LabelAudit

PAGE = 60
SOURCES = ("answers", "student")
REFRESH_SECONDS = 2

By = Literal["answers", "student", "both"]
Checked = Literal["no", "yes"]

router = APIRouter()


@dataclass(frozen=True, kw_only=True)
class LabelFilter:
    """The filters in an address: of the label's class, the suggested one, the source that has another class than the
    label, the least probability of being wrong, the split, whether the label is checked, and images without one."""

    label: str | None = None
    suggested: str | None = None
    by: By | None = None
    least: float | None = None
    split: str | None = None
    checked: Checked | None = None
    unlabelled: bool | None = None  # None: where no label can be judged


def label_filter(
    label: str | None = None,
    suggested: str | None = None,
    by: By | None = None,
    least: Annotated[float | None, Query(ge=0, le=1)] = None,
    split: str | None = None,
    checked: Checked | None = None,
    unlabelled: bool | None = None,
) -> LabelFilter:
    return LabelFilter(
        label=label, suggested=suggested, by=by, least=least, split=split, checked=checked, unlabelled=unlabelled
    )


@router.get("/labels")
def labels(
    request: Request,
    wanted: Annotated[LabelFilter, Depends(label_filter)],
    answers: str | None = None,
    page: Annotated[int, Query(ge=1, le=10**6)] = 1,
) -> HTMLResponse:
    sources = sources_of(request)
    found = sources.answers(answers)
    names = class_names(sources, found)
    current = sources.corrections.current(found.found.dataset)
    judged = sources.label_audits.get(found, names, current)
    if judged is None:
        computing: dict[str, Any] = {"audit": None, "images": len(found.columns.rows), "refresh": REFRESH_SECONDS}
        return render(request, "labels.html", title="Labels", answers=found, **computing)
    audit = judged.audit
    facts = label_facts(audit)
    if wanted.unlabelled is None:
        wanted = replace(wanted, unlabelled=facts["judged"] == 0)
    rows = filtered(audit, wanted, current)
    shown = rows.slice((page - 1) * PAGE, PAGE)
    parameters = {"answers": found.found.id, **vars(wanted), "unlabelled": wanted.unlabelled or None}
    return render(
        request,
        "labels.html",
        title="Labels",
        answers=found,
        audit=audit,
        is_current=judged.current,
        wanted=wanted,
        parameters=parameters,
        address=link("/labels", **parameters, page=page),
        class_names=names,
        splits=found.columns.splits,
        page=page,
        pages=max(1, math.ceil(len(rows) / PAGE)),
        total=len(rows),
        rows=cards(shown, found, current),
        **facts,
    )


def label_facts(audit: LabelAudit) -> dict[str, Any]:
    """The numbers above the list."""
    from student.classification.label_audit import LIKELY_WRONG
    from student.classification.label_audit_table import JUDGED, UNLABELLED

    return {
        "likely_wrong": len(audit.suspicious()),
        "least_shown": LIKELY_WRONG,
        "judged": int((audit.table["status"] == JUDGED).sum()),
        "unlabelled": int((audit.table["status"] == UNLABELLED).sum()),
    }


def filtered(audit: LabelAudit, wanted: LabelFilter, current: CurrentCorrections) -> pl.DataFrame:
    """The rows of the audit that the filters leave, in its order."""
    from student.classification.label_audit_table import JUDGED, UNLABELLED

    rows = audit.table.filter(pl.col("status") == (UNLABELLED if wanted.unlabelled else JUDGED))
    for column in ("label", "suggested", "split"):
        if (value := getattr(wanted, column)) is not None:
            rows = rows.filter(pl.col(column) == value)
    if wanted.least is not None:
        rows = rows.filter(pl.col("wrong") >= wanted.least)
    sources = SOURCES if wanted.by == "both" else (wanted.by,) if wanted.by else ()
    for source in sources:
        column = f"{source}_class"
        rows = rows.filter(pl.col(column) != pl.col("label") if column in rows.columns else pl.lit(False))
    if wanted.checked is not None:
        checked = pl.col("image_id").is_in(list(current.labels))
        rows = rows.filter(checked if wanted.checked == "yes" else ~checked)
    return rows


def cards(rows: pl.DataFrame, found: OpenAnswers, current: CurrentCorrections) -> list[dict[str, Any]]:
    """What the template shows of each row: its columns, the questions against the label and the correction."""
    texts = {question.key: question.text for question in found.columns.header.questions.questions}
    return [
        {
            **row,
            "correction": current.labels.get(row["image_id"]),
            "reasons": [
                {"key": key, "text": texts[key], "p_yes": p_yes}
                for key, p_yes in zip(row["against"], row["against_p_yes"], strict=True)
            ],
            "said": [
                {"source": source, **{name: row[f"{source}_{name}"] for name in ("class", "p", "p_label")}}
                for source in SOURCES
                if row.get(f"{source}_class") is not None
            ],
        }
        for row in rows.iter_rows(named=True)
    ]
