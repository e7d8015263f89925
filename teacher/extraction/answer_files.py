"""Read and validate JSON files of probabilities, `{name: nested lists of p(yes)}`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.documents import MEGABYTE, DocumentInvalid, read_json
from storage.text import printable
from teacher.engines.config import TeacherInvalid

MAX_ANSWERS = 256 * MEGABYTE  # larger files should be Parquet tables
# LaViD's own sums of options overshoot 1 by rounding.
HIGHEST = 1.01


def read_probabilities(path: Path, kind: str, dimensions: int, expected: str) -> dict[str, NDArray[np.float64]]:
    """Return the probabilities by name, arrays with `dimensions` axes and all of one shape. Raises TeacherInvalid."""
    try:
        document = read_json(path, limit=MAX_ANSWERS)
    except OSError as error:
        raise TeacherInvalid(f"cannot read {path}: {error.strerror}") from error
    except DocumentInvalid as error:
        raise TeacherInvalid(f"cannot read answers: {error}") from error
    if not isinstance(document, dict):
        raise TeacherInvalid(f"{path} is no {kind} answer file; {expected}")
    if not document:
        raise TeacherInvalid(f"{path} has no answers; {expected}")
    found: dict[str, NDArray[np.float64]] = {}
    for name, values in document.items():
        where = f"{path}: '{printable(name, 100)}'"
        found[name] = _array(values, where, expected)
        shape = found[next(iter(found))].shape
        if found[name].ndim != dimensions or found[name].shape != shape or 0 in shape:
            raise TeacherInvalid(f"{where} has answers of shape {found[name].shape}, others {shape}; {expected}")
    return found


def _array(values: Any, where: str, expected: str) -> NDArray[np.float64]:
    try:
        array = np.asarray(values)
    except (ValueError, OverflowError) as error:
        raise TeacherInvalid(f"{where} has lists of different lengths; {expected}") from error
    if array.dtype.kind not in "biuf":
        wrong = next(value for value in _flat(values) if not isinstance(value, int | float) or abs(value) > HIGHEST)
        raise TeacherInvalid(f"{where} has {printable(repr(wrong), 40)} where a probability should be; {expected}")
    if not ((array >= 0) & (array <= HIGHEST)).all():
        wrong = array[~((array >= 0) & (array <= HIGHEST))][0]
        raise TeacherInvalid(f"{where} has a value outside 0..1 ({wrong}); give probabilities")
    return array.astype(np.float64)


def _flat(values: Any) -> Iterator[Any]:
    """Flatten nested lists to their other values."""
    waiting = [values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(reversed(value))
        else:
            yield value
