"""The entries of a file of corrections, independent of its format."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from storage.corrections.rows import CorrectionInvalid
from storage.documents import DocumentInvalid, read_text
from storage.text import as_yaml, printable

MAX_BYTES = 512 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One value of a file: the label of an image, or, with a `key`, an answer: yes, no or unsure.

    An empty value is skipped. `row` counts the rows of a table, or the lines or tasks of a JSON file, from 1. `drawn`
    is the probability and the pool with which a queue drew an answer, as text.
    """

    row: int
    image: str
    key: str | None
    value: str
    drawn: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageEntries:
    """The corrections of one image: its label, None if that is not corrected, and answers by key."""

    image_id: str
    label: str | None
    answers: Mapping[str, str] = field(default_factory=dict)


def read_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read JSON lines, or one JSON list, of objects, each with its number from 1. Raises CorrectionInvalid."""
    try:
        text = read_text(path, limit=MAX_BYTES)
    except OSError as error:
        raise CorrectionInvalid(f"cannot read {path}: {error.strerror or error}") from error
    except DocumentInvalid as error:
        raise CorrectionInvalid(f"cannot read corrections: {error}") from error
    for number, value in _values(text, path):
        if not isinstance(value, dict):
            raise CorrectionInvalid(f"{path}, row {number} is no JSON object; write one for each image")
        yield number, value


def _values(text: str, path: Path) -> Iterator[tuple[int, Any]]:
    if text.lstrip().startswith("["):
        yield from enumerate(_parsed(text, str(path)), start=1)
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, _parsed(line, f"{path}, row {number}")


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CorrectionInvalid(f"{where} is no valid JSON ({printable(str(error), 200)})") from error


def text_at(value: object, where: str) -> str:
    """Return `value` if it is text. Raises CorrectionInvalid."""
    if not isinstance(value, str):
        raise CorrectionInvalid(f"{where} is {printable(as_yaml(value), 60)}, not text")
    return value
