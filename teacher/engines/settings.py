"""Find the engine arguments that change answers, and therefore belong to the teacher's fingerprint."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from teacher.engines.config import TeacherInvalid
from teacher.engines.redaction import excerpt, hide_secrets


def decisive_arguments(
    flag: str, arguments: Mapping[str, Any], speed: Collection[str], refused: Mapping[str, str]
) -> dict[str, Any]:
    """Return the `arguments` that are not in `speed`, with secrets hidden.

    Raises TeacherInvalid for a `refused` argument, naming `flag` and the option to use instead, and for values that
    JSON does not support.
    """
    for name, value in arguments.items():
        if name in refused:
            other = refused[name]
            raise TeacherInvalid(f"{flag} {name} is not to be set; {f'use {other}' if other else 'leave it out'}")
        check_json(f"{flag} {name}", value)
    return hide_secrets({name: value for name, value in arguments.items() if name not in speed})


def check_json(setting: str, value: Any) -> None:
    """Raise TeacherInvalid for a value that JSON does not support: a date, infinity, invalid Unicode."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        shown = excerpt(repr(value)[:200], limit=60) if not isinstance(error, RecursionError) else "..."
        raise TeacherInvalid(f"{setting} is {shown}, which JSON cannot hold; write a number, text or a list") from error
