"""From an exception to what a user reads: one line and an exit code, or a traceback where only we can mend it."""

from __future__ import annotations

import os

from pydantic import ValidationError

from storage.errors import AspectsError
from storage.text import printable

USERS_MISTAKE = 2
FAILED = 1
LONGEST_LINE = 1000


def explain(error: BaseException) -> tuple[str, int] | None:
    """The line to print and the exit code; None for an error that nobody outside this project can do anything about."""
    if isinstance(error, AspectsError):
        return _one_line(str(error)), error.exit_code
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        group = error.title.removesuffix("Parameters").lower()
        where = ".".join(str(part) for part in first["loc"])
        return _one_line(f"{group} {where} is {first['input']!r}: {first['msg'].lower()}"), USERS_MISTAKE
    if type(error).__name__ in ("ParameterTypeError", "ParameterBindError", "SignatureMismatchError"):
        return _one_line(str(error)), USERS_MISTAKE
    if isinstance(error, RuntimeError) and str(error).startswith("Failed to reach API at"):
        return f"{error}; start that Prefect server, or unset PREFECT_API_URL to do without one", USERS_MISTAKE
    if isinstance(error, OSError):
        return _one_line(f"{error}; check the path, its permissions and the free space"), USERS_MISTAKE
    return None


def wants_traceback() -> bool:
    return os.environ.get("ASPECTS_DEBUG", "") not in ("", "0")


def _one_line(text: str) -> str:
    return printable(text, LONGEST_LINE)
