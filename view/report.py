"""A report: the pages about one set of answers as a single HTML file, with small copies of the images inside."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from storage.errors import InputInvalid
from storage.filesystem import write_file
from student.core.stored_runs import read_stored_evaluation
from view.corrections import class_names
from view.pages.classes import classes_context
from view.pages.labels import LabelFilter, cards, filtered, label_facts
from view.pages.overview import overview_context
from view.pages.questions import questions_context
from view.pages.student import choose, classifiers, default_split, student_context
from view.rendering import FOLDER, environment
from view.sources import OpenAnswers, Sources
from view.thumbnails import READ_ERRORS, Thumbnails, UnknownImage

NO_LINK = "#none"
NO_ADDRESS = re.compile(rf' href="{NO_LINK}[^"]*"')
SIDE = 96  # pixels of the images inside
SUSPECTS = 24  # labels
TAG = 200  # bytes of an image's tag, at most


@dataclass
class Inlined:
    """Thumbnails as data addresses, up to `limit` bytes; `left_out` counts those that did not fit."""

    thumbnails: Thumbnails | None
    limit: int
    used: int = 0
    left_out: int = 0
    _made: dict[str, str | None] = field(default_factory=dict)

    def __call__(self, image_id: str, side: int = SIDE) -> str | None:
        """The address of a thumbnail; None without a dataset, for unreadable images and beyond the limit."""
        if self.thumbnails is None:
            return None
        if image_id not in self._made:
            self._made[image_id] = self._encode(self.thumbnails, image_id)
        address = self._made[image_id]
        if address is None:
            return None
        size = len(address) + TAG
        if self.used + size > self.limit:
            self.left_out += 1
            return None
        self.used += size
        return address

    def _encode(self, thumbnails: Thumbnails, image_id: str) -> str | None:
        try:
            data = thumbnails.read(image_id, SIDE)
        except (UnknownImage, *READ_ERRORS):
            return None
        return f"data:image/webp;base64,{base64.b64encode(data).decode()}"


def write_report(sources: Sources, path: Path, *, answers_id: str | None = None, max_bytes: int) -> int:
    """Write the report about a set of answers, by default the first of the store.

    Returns the number of images that were left out so that the file has at most `max_bytes`. Raises the errors of
    `Sources.answers`.

    The text itself is never cut: a limit below its size leaves out every image.
    """
    text = _render(sources, answers_id, Inlined(None, 0))
    inlined = Inlined(sources.thumbnails, max(0, max_bytes - len(text.encode())))
    if sources.thumbnails is not None:
        text = _render(sources, answers_id, inlined)
    write_file(path, text.encode())
    return inlined.left_out


def _render(sources: Sources, answers_id: str | None, inlined: Inlined) -> str:
    found = sources.answers(answers_id)
    shown = inlined if sources.shows(found.found.dataset) else Inlined(None, 0)
    page = (
        environment()
        .get_template("report.html")
        .render(
            title=found.found.dataset,
            style=(FOLDER / "static" / "style.css").read_text(encoding="utf-8"),
            answers=found,
            answers_id=found.found.id,
            link=_anchor,
            thumbnail=shown,
            overview=overview_context(sources, found),
            questions=questions_context(sources, found, "bits"),
            classes=classes_context(found, link=_anchor),
            student=_student(sources, found),
            labels=_labels(sources, found),
            standalone=True,
        )
    )
    return NO_ADDRESS.sub("", page)


def _student(sources: Sources, found: OpenAnswers) -> dict[str, Any] | None:
    """The evaluated student that the page of students shows first; None where none is about this dataset."""
    chosen = choose([run for run in classifiers(sources) if run.dataset == found.found.dataset], None)
    split = None if chosen is None else default_split(chosen)
    evaluation = None if chosen is None or split is None else read_stored_evaluation(chosen, split)
    if chosen is None or split is None or evaluation is None:
        return None
    return {"chosen": chosen, "split": split, **student_context(chosen, split, evaluation, found)}


def _labels(sources: Sources, found: OpenAnswers) -> dict[str, Any] | None:
    """The most suspicious labels; None where labels cannot be judged."""
    current = sources.corrections.current(found.found.dataset)
    try:
        judged = sources.label_audits.get(found, class_names(sources, found), current, wait=True)
    except InputInvalid:  # e.g. answers about classes, or a single class
        return None
    if judged is None:
        return None
    rows = filtered(judged.audit, LabelFilter(), current).head(SUSPECTS)
    return {"audit": judged.audit, "rows": cards(rows, found, current), **label_facts(judged.audit)}


def _anchor(path: str, **parameters: Any) -> str:
    """A link within the file: questions have a place of their own, other pages are not in it."""
    return f"#{parameters['key']}" if path == "/question" else NO_LINK
