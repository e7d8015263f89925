"""Convert an exception to one line and an exit code; errors of the program itself keep their traceback."""

from __future__ import annotations

import errno
import os

from pydantic import ValidationError

from storage.errors import AspectsError, InputInvalid
from storage.text import as_yaml
from teacher.engines.redaction import HIDDEN, excerpt, names_secret

USAGE_ERROR = InputInvalid.exit_code
FAILED = AspectsError.exit_code
LONGEST_LINE = 1000
# File system errors after which the same command may work later.
TRANSIENT = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EBUSY)


def explain(error: BaseException) -> tuple[str, int] | None:
    """Return the line to print and the exit code; None for a defect of the program."""
    if isinstance(error, AspectsError):
        return _one_line(str(error)), error.exit_code
    if isinstance(error, ValidationError):
        return _one_line(_describe_validation(error)), USAGE_ERROR
    if isinstance(error, OSError):
        code = FAILED if error.errno in TRANSIENT else USAGE_ERROR
        return _one_line(f"{error}; check the path, its permissions and the free space"), code
    return None


def explain_or_raise(error: Exception) -> tuple[str, int]:
    """Return the line to print and the exit code. Raises `error` where it is a defect of the program, and with
    ASPECTS_DEBUG."""
    if wants_traceback() or (explained := explain(error)) is None:
        raise error
    return explained


def _describe_validation(error: ValidationError) -> str:
    """Return a description of the first of pydantic's errors."""
    first = error.errors()[0]
    group = error.title.removesuffix("Parameters").lower()
    where = ".".join(str(part) for part in first["loc"])
    given = HIDDEN if names_secret(where.rpartition(".")[2]) else as_yaml(first["input"])
    return f"{group} {where} is {given}: {first['msg'].lower()}"


def wants_traceback() -> bool:
    return os.environ.get("ASPECTS_DEBUG", "") not in ("", "0")


def _one_line(text: str) -> str:
    return excerpt(text, limit=LONGEST_LINE)
