"""From an exception to what a user reads: one line and an exit code, or a traceback where only we can mend it."""

from __future__ import annotations

import errno
import os
from typing import Any

from storage.errors import AspectsError
from teacher.engines.redaction import HIDDEN, excerpt, names_secret

USERS_MISTAKE = 2
FAILED = 1
LONGEST_LINE = 1000
# Errors of the file system that the same command may not meet again.
PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EBUSY)


def explain(error: BaseException) -> tuple[str, int] | None:
    """The line to print and the exit code; None for an error that nobody outside this project can do anything about."""
    if isinstance(error, AspectsError):
        return _one_line(str(error)), error.exit_code
    if type(error).__name__ == "ValidationError":
        return _one_line(_describe_validation(error)), USERS_MISTAKE
    if type(error).__name__ in ("ParameterTypeError", "ParameterBindError", "SignatureMismatchError"):
        return _one_line(str(error)), USERS_MISTAKE
    if isinstance(error, RuntimeError) and str(error).startswith("Failed to reach API at"):
        return f"{error}; start that Prefect server, or unset PREFECT_API_URL to do without one", USERS_MISTAKE
    if isinstance(error, OSError):
        code = FAILED if error.errno in PASSING else USERS_MISTAKE
        return _one_line(f"{error}; check the path, its permissions and the free space"), code
    return None


def _describe_validation(error: Any) -> str:
    """The first thing that pydantic complains about."""
    first = error.errors()[0]
    group = error.title.removesuffix("Parameters").lower()
    where = ".".join(str(part) for part in first["loc"])
    given = HIDDEN if names_secret(where.rpartition(".")[2]) else repr(first["input"])
    return f"{group} {where} is {given}: {first['msg'].lower()}"


def wants_traceback() -> bool:
    return os.environ.get("ASPECTS_DEBUG", "") not in ("", "0")


def _one_line(text: str) -> str:
    return excerpt(text, limit=LONGEST_LINE)
