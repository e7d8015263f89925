"""Values of export files, checked; errors name their place."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from storage.datasets.base import Corners, DatasetInvalid
from storage.documents import MEGABYTE, DocumentInvalid, read_json
from storage.text import is_unicode, printable

LARGEST = 1024 * MEGABYTE


def read_document(path: Path, tool: str) -> Any:
    """Parse a JSON file. Raises DatasetInvalid."""
    try:
        return read_json(path, limit=LARGEST)
    except (OSError, DocumentInvalid) as error:
        raise DatasetInvalid(f"cannot read an export of {tool}: {error}") from error


def wrong(where: str, value: object, wanted: str) -> DatasetInvalid:
    return DatasetInvalid(f"{where} is {printable(reprlib.repr(value), 80)}; it must be {wanted}")


def text(value: Any, where: str, wanted: str) -> str:
    """Return a text that is not empty; whole numbers are taken as text."""
    if type(value) is int:
        return str(value)
    if not isinstance(value, str) or not value.strip() or not is_unicode(value) or "\0" in value:
        raise wrong(where, value, wanted)
    return value.strip()


def objects(value: Any, where: str) -> list[dict[str, Any]]:
    """Return a list of JSON objects; none for null."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise wrong(where, value, "a list of objects")
    return value


def numbers(values: Any, count: int, where: str) -> list[float]:
    """Return `count` finite numbers."""
    found: Sequence[Any] = values if isinstance(values, list) else []
    try:
        parsed = [float(value) for value in found if not isinstance(value, bool)]
    except (TypeError, ValueError, OverflowError):
        parsed = []
    if len(parsed) != count or not all(map(math.isfinite, parsed)):
        raise wrong(where, values, f"{count} numbers")
    return parsed


def bounding_box(points: Sequence[tuple[float, float]]) -> Corners:
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def turned(corners: Corners, degrees: float, about: tuple[float, float]) -> Corners:
    """Return the bounding box of a rectangle turned clockwise about a point; pixels are square."""
    if not degrees:
        return corners
    left, top, right, bottom = corners
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x0, y0 = about
    return bounding_box(
        [
            (x0 + (x - x0) * cosine - (y - y0) * sine, y0 + (x - x0) * sine + (y - y0) * cosine)
            for x, y in ((left, top), (right, top), (right, bottom), (left, bottom))
        ]
    )
