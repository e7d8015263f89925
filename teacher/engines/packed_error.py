"""Errors sent from a worker's process: class and text within limits, since arbitrary objects may not unpickle in the
parent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from storage.errors import AspectsError
from storage.retries import may_pass
from teacher.engines.base import ImageRefused
from teacher.engines.config import TeacherInvalid
from teacher.engines.redaction import excerpt, redact

LONGEST = 900  # characters of a message
LONGEST_TRACEBACK = 4000


class WorkerFailed(RuntimeError):
    """A defect of this program occurred in a worker; the message holds the traceback."""


@dataclass(frozen=True, slots=True)
class PackedError:
    """An error without its causes. `index` is that of the rejected image."""

    kind: type[Exception]
    message: str
    may_pass: bool = False
    index: int = 0

    def unpack(self) -> Exception:
        if self.kind is ImageRefused:
            return ImageRefused(self.index, self.message)
        error = self.kind(self.message)
        if isinstance(error, AspectsError) and self.may_pass:
            error.may_pass = True  # its cause, which implies this, was not sent
        return error


# Errors that are sent. Any other ends the process, because its model is in an unknown state.
SENT = (AspectsError, ValueError, WorkerFailed)


def pack(error: Exception, secrets: Iterable[str] = ()) -> PackedError:
    """Return one of `SENT` as class and text. A ValueError of a library becomes TeacherInvalid."""
    if isinstance(error, ImageRefused):
        return PackedError(ImageRefused, excerpt(error.reason, secrets, LONGEST), index=error.index)
    if isinstance(error, WorkerFailed):
        return PackedError(WorkerFailed, redact(str(error), secrets)[-LONGEST_TRACEBACK:])
    text = excerpt(str(error), secrets, LONGEST)
    for kind in type(error).__mro__:
        # A class that can be imported by its name.
        if issubclass(kind, AspectsError) and "<locals>" not in kind.__qualname__:
            return PackedError(kind, text, may_pass(error))
    return PackedError(TeacherInvalid, excerpt(str(unusable_teacher(error)), secrets, LONGEST))


def unusable_teacher(error: Exception) -> TeacherInvalid:
    """Return the error to raise for a ValueError of an engine's libraries: they reject the model or its settings."""
    return TeacherInvalid(f"the teacher cannot be used: {str(error) or type(error).__name__}")
