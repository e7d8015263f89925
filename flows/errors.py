"""From an exception to what a user reads: one line and an exit code, or a traceback where only we can mend it."""

from __future__ import annotations

import os

from pydantic import ValidationError

OURS = frozenset({"storage", "teacher", "student", "flows"})
USERS_MISTAKE = 2
FAILED = 1


def explain(error: BaseException) -> tuple[str, int] | None:
    """The line to print and the exit code; None for an error that nobody outside this project can do anything about."""
    if isinstance(error, ValueError) and type(error).__module__.split(".")[0] in OURS:
        return _one_line(str(error)), USERS_MISTAKE
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        group = error.title.removesuffix("Parameters").lower()
        where = ".".join(str(part) for part in first["loc"])
        return _one_line(f"{group} {where} is {first['input']!r}: {first['msg'].lower()}"), USERS_MISTAKE
    kind = type(error).__name__
    if kind in ("ParameterTypeError", "ParameterBindError", "SignatureMismatchError"):
        return _one_line(str(error)), USERS_MISTAKE
    if kind in ("TeacherDied", "TeacherGivenUp", "TeacherUnreachable", "ShardMissing"):
        return _one_line(str(error)), FAILED
    if isinstance(error, RuntimeError) and str(error).startswith("Failed to reach API at"):
        return f"{error}; start that Prefect server, or unset PREFECT_API_URL to do without one", USERS_MISTAKE
    if isinstance(error, OSError):
        return _one_line(f"{error}; check the path, its permissions and the free space"), USERS_MISTAKE
    return None


def wants_traceback() -> bool:
    return os.environ.get("ASPECTS_DEBUG", "") not in ("", "0")


def _one_line(text: str) -> str:
    return " ".join(text.split())
