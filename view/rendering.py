"""Templates and what they share: addresses, numbers, and the frame around every page."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from storage.text import printable
from teacher.engines.presets import display_name
from view.sources import AnswerSet, OpenAnswers, Sources

FOLDER = Path(__file__).parent
MISSING = "–"  # noqa: RUF001  # shown where a number is not known


@cache
def environment() -> Environment:
    """The templates. Text is escaped, and a name that is not given is an error."""
    made = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(percent=percent, decimal=decimal, count=count, duration=duration, short=short)
    made.globals.update(link=link, display_name=display_name)
    return made


def link(path: str, **parameters: Any) -> str:
    """An address of the page; parameters that are None or empty are left out."""
    given = {name: value for name, value in parameters.items() if value not in (None, "")}
    return f"{path}?{urlencode(given)}" if given else path


def percent(value: float | None, digits: int = 0) -> str:
    return MISSING if value is None or math.isnan(value) else f"{100 * value:.{digits}f} %"


def decimal(value: float | None, digits: int = 2) -> str:
    return MISSING if value is None or math.isnan(value) else f"{value:.{digits}f}"


def count(value: float | None) -> str:
    return MISSING if value is None else f"{value:,.0f}"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return MISSING
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"


def short(text: str, limit: int = 80) -> str:
    return printable(text, limit)


def sources_of(request: Request) -> Sources:
    found: Sources = request.app.state.sources
    return found


def thumbnail_address(sources: Sources, dataset: str) -> Callable[..., str | None]:
    """A function for templates: the address of the thumbnail of an image, or of a class for answers about classes; None
    where images of `dataset` are not shown, and for what it does not have."""
    shown = sources.thumbnails if sources.shows(dataset) else None

    def address(image_id: str, side: int = 96) -> str | None:
        return link("/thumbnail", id=image_id, side=side) if shown is not None and shown.is_known(image_id) else None

    return address


def render(
    request: Request, template: str, *, answers: OpenAnswers | None = None, status: int = 200, **context: Any
) -> HTMLResponse:
    """The page `template`. `answers` are those that it is about, which links of the navigation keep."""
    sources = sources_of(request)
    found: AnswerSet | None = answers.found if answers is not None else None
    frame = {
        "here": request.url.path,
        "query": dict(request.query_params),
        "navigation": request.app.state.navigation,
        "answers_id": found.id if found else None,
        "answers": answers,
        "standalone": False,
        "thumbnail": thumbnail_address(sources, found.dataset if found else ""),
    }
    page = request.app.state.templates.get_template(template).render({**frame, **context})
    return HTMLResponse(page, status_code=status)


def page_of(items: Iterable[Any], number: int, size: int) -> tuple[list[Any], int]:
    """The items of page `number` (from 1) and the number of pages, at least 1."""
    every = list(items)
    return every[(number - 1) * size : number * size], max(1, math.ceil(len(every) / size))


def changed(query: Mapping[str, str], **parameters: Any) -> dict[str, Any]:
    """The parameters of an address with some of them replaced."""
    return {**query, **parameters}
