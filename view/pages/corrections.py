"""Record and undo corrections, list them, and the queue of answers to check."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from storage.corrections import Correction, CorrectionInvalid
from storage.corrections.estimate import estimate_accuracy
from view.corrections import as_drawn, class_names, requested
from view.rendering import link, render, sources_of
from view.sources import Sources

PAGE = 60
MOST_BYTES = 64 << 10  # of a request

router = APIRouter()


@router.post("/corrections")
async def record(request: Request) -> Response:
    """Record one correction. Fields, as JSON or as a form: `image_id`, `kind` (label or answer), `value`, for an answer
    `key`; optional `answers` (the id of a set), `note`, and `queue`, the id of the queue that asked. A value that is
    empty means unsure, or no label.

    Answers JSON with the id `correction`; a form is sent back to the page `next`.
    """
    given = await _fields(request)
    row = await run_in_threadpool(_record, sources_of(request), given)
    return _reply(request, given, {"correction": row.correction, "value": row.value})


@router.post("/corrections/undo")
async def undo(request: Request) -> Response:
    """Take back the correction whose id is in the field `correction`."""
    given = await _fields(request)
    row = await run_in_threadpool(_undo, sources_of(request), given)
    return _reply(request, given, {"correction": row.correction, "undone": row.undoes})


def _record(sources: Sources, given: dict[str, Any]) -> Correction:
    found = sources.answers(given.get("answers") or None)
    row = requested(found, class_names(sources, found), given)
    if given.get("queue"):
        queue, current = sources.corrections.queue(found), sources.corrections.current(found.found.dataset)
        items = queue.next_items(current, 1) if queue.id == given["queue"] else []
        # The page may be an old one: only the next answer was drawn with the probability that is recorded.
        if items and (items[0].image_id, items[0].text) == (row.image_id, row.text):
            row = as_drawn(row, items[0])
    return sources.corrections.folder(found.found.dataset).record([row])[0]


def _undo(sources: Sources, given: dict[str, Any]) -> Correction:
    found = sources.answers(given.get("answers") or None)
    return sources.corrections.folder(found.found.dataset).undo(str(given.get("correction") or ""))


async def _fields(request: Request) -> dict[str, Any]:
    """The fields of a JSON object or of a form. Raises CorrectionInvalid."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise HTTPException(413, "the request is too long")
    try:
        found = json.loads(body) if is_json(request) else dict(parse_qsl(body.decode(), keep_blank_values=True))
    except ValueError as error:
        raise CorrectionInvalid("the request is neither JSON nor a form") from error
    if not isinstance(found, dict):
        raise CorrectionInvalid("the request is no JSON object")
    return found


def is_json(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip() == "application/json"


def _reply(request: Request, given: dict[str, Any], values: dict[str, Any]) -> Response:
    if is_json(request):
        return JSONResponse(values, status_code=201)
    target = str(given.get("next") or "/corrections")
    # Only a path of this page: "//host" and "/\host" are other sites to a browser.
    inside = target.startswith("/") and target[1:2] not in ("/", "\\")
    return RedirectResponse(target if inside else "/corrections", status_code=303)


@router.get("/corrections")
def corrections(
    request: Request, answers: str | None = None, page: Annotated[int, Query(ge=1, le=10**6)] = 1
) -> HTMLResponse:
    """The corrections that count, the last ones first."""
    sources = sources_of(request)
    found = sources.answers(answers)
    current = sources.corrections.current(found.found.dataset)
    rows = current.rows[::-1]
    return render(
        request,
        "corrections.html",
        title="Corrections",
        answers=found,
        rows=rows[(page - 1) * PAGE : page * PAGE],
        labels=len(current.labels),
        answered=len(current.answers),
        page=page,
        pages=max(1, math.ceil(len(rows) / PAGE)),
    )


@router.get("/queue")
def queue(request: Request, answers: str | None = None) -> HTMLResponse:
    """The next answer to check, and the accuracy of the teacher as far as it is known."""
    sources = sources_of(request)
    found = sources.answers(answers)
    current = sources.corrections.current(found.found.dataset)
    asked = sources.corrections.queue(found)
    items = asked.next_items(current, 1)
    estimates = estimate_accuracy(asked, current)
    last = next((row for row in reversed(current.rows) if row.shown is not None), None)
    return render(
        request,
        "queue.html",
        title="Queue",
        answers=found,
        item=items[0] if items else None,
        queue_id=asked.id,
        total=estimates[0],
        estimates=[one for one in estimates[1:] if one.answered],
        last=last,
        address=link("/queue", answers=found.found.id),
    )
