"""The application: pages, thumbnails and static files behind the guard of view/security.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException as StarletteHTTPException

from storage.answers.damage import AnswersDamaged, AnswersMissing
from storage.errors import AspectsError, InputInvalid
from view.pages import classes, corrections, detection, images, labels, overview, question, questions, run, student
from view.rendering import FOLDER, environment, render, sources_of
from view.security import Guard
from view.sources import Sources
from view.thumbnails import READ_ERRORS, SIDES, UnknownImage, placeholder


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page of the navigation. One without a `title` is reached from others."""

    router: APIRouter
    title: str | None = None
    path: str = "/"


PAGES = (
    Page(router=overview.router, title="Overview", path="/"),
    Page(router=questions.router, title="Questions", path="/questions"),
    Page(router=question.router),
    Page(router=classes.router, title="Class × question", path="/classes"),  # noqa: RUF001
    Page(router=images.router, title="Images", path="/images"),
    Page(router=labels.router, title="Labels", path="/labels"),
    Page(router=student.router, title="Student", path="/student"),
    Page(router=detection.router, title="Detection", path="/detection"),
    Page(router=run.router, title="Run", path="/run"),
    Page(router=corrections.router, title="Corrections", path="/corrections"),
)

thumbnails = APIRouter()


def create_app(sources: Sources, guard: Guard) -> FastAPI:
    """The pages about `sources`."""
    app = FastAPI(title="Aspects", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.sources = sources
    app.state.templates = environment()
    app.state.navigation = [page for page in PAGES if page.title is not None]
    app.middleware("http")(guard)
    app.mount("/static", StaticFiles(directory=FOLDER / "static"), name="static")
    app.include_router(thumbnails)
    for page in PAGES:
        app.include_router(page.router)
    app.add_exception_handler(AspectsError, _say_error)
    app.add_exception_handler(StarletteHTTPException, _say_error)
    app.add_exception_handler(RequestValidationError, _say_error)
    return app


@thumbnails.get("/thumbnail")
def thumbnail(request: Request, image_id: Annotated[str, Query(alias="id")], side: int = SIDES[0]) -> Response:
    """A small copy of an image of the dataset, as WebP; a placeholder for an image that cannot be read."""
    made = sources_of(request).thumbnails
    if made is None or side not in SIDES:
        raise HTTPException(404, "there is no such thumbnail")
    try:
        tag = f'"{made.key(image_id, side)}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"ETag": tag})
        headers = {"ETag": tag, "Cache-Control": "private, max-age=600"}
        return Response(made.read(image_id, side), media_type="image/webp", headers=headers)
    except UnknownImage as error:
        raise HTTPException(404, "the dataset has no such image") from error
    except READ_ERRORS:
        return Response(placeholder(side, "unreadable"), media_type="image/svg+xml")


def _say_error(request: Request, error: Exception) -> Response:
    """An error as a page of one line."""
    status, text = 500, str(error)
    if isinstance(error, StarletteHTTPException):
        status, text = error.status_code, error.detail
    elif isinstance(error, RequestValidationError):
        first = error.errors()[0]
        status, text = 400, f"{first['loc'][-1]} in the address: {first['msg'].lower()}"
    elif isinstance(error, AspectsError):
        missing = isinstance(error, AnswersMissing) and not isinstance(error, AnswersDamaged)
        status = 404 if missing else 400 if isinstance(error, InputInvalid) else 503
    return render(request, "error.html", title="Error", status=status, text=text)
