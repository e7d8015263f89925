"""Errors on their way from an engine's process: as text within limits, since any object may not be readable there."""

from __future__ import annotations

from collections.abc import Iterable

from teacher.engines.base import ImageRefused, TeacherPaused, TeacherUnreachable
from teacher.engines.config import AnswerTokenMissing, ChatTemplateMissing, TeacherInvalid
from teacher.engines.redaction import excerpt

LONGEST = 900  # characters of a message
KINDS: dict[str, type[Exception]] = {
    kind.__name__: kind
    for kind in (TeacherInvalid, AnswerTokenMissing, ChatTemplateMissing, TeacherUnreachable, TeacherPaused)
}
Told = tuple[str, int, str]  # kind, number of the image, message


def tell(error: Exception, secrets: Iterable[str] = ()) -> Told:
    """What is sent of an error that the parent has to know of. Another ValueError than ours is an unusable teacher."""
    if isinstance(error, ImageRefused):
        return ImageRefused.__name__, error.index, excerpt(error.reason, secrets, LONGEST)
    text = excerpt(str(error), secrets, LONGEST)
    for kind in (type(error).__name__, *(base.__name__ for base in type(error).__mro__)):
        if kind in KINDS:
            return kind, 0, text
    return TeacherInvalid.__name__, 0, f"the teacher cannot be used: {text or type(error).__name__}"


def told(what: Told) -> Exception:
    """The error that `tell` was given, as far as anybody tells them apart."""
    kind, index, text = what
    return ImageRefused(index, text) if kind == ImageRefused.__name__ else KINDS[kind](text)
