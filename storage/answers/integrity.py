"""Detect damage that still parses: digests, and the range of log-probabilities."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from storage.datasets.records import Corners, ImageRecords
from storage.text import printable

if TYPE_CHECKING:  # schema imports this module
    from storage.answers.schema import AnswerHeader, ShardAnswers

# Log-probabilities are at most 0; sums of 16-bit numbers overshoot a little. Servers write -9999 for "never".
HIGHEST, LOWEST = 0.01, -1e6
FIELDS_KEY = "field_digests"


def is_answer(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return whether each value is a possible log-probability; NaN and infinities are not."""
    found: NDArray[np.bool_] = (values <= HIGHEST) & (values >= LOWEST)
    return found


def check_values(header: AnswerHeader, answers: ShardAnswers) -> None:
    """Raise ValueError for a row without an error that holds anything but log-probabilities.

    Answers read from a file, whose teacher has a `format`, and partial ones may have gaps.
    """
    asked = np.array([error is None for error in answers.errors], bool)
    wrong = ~(is_answer(answers.yes) & is_answer(answers.no)) & asked[:, None]
    if "format" in header.teacher or header.partial:
        wrong &= ~(np.isnan(answers.yes) & np.isnan(answers.no))
    if wrong.any():
        row, column = (int(place) for place in np.argwhere(wrong)[0])
        yes, no = answers.yes[row, column], answers.no[row, column]
        raise ValueError(f"'{answers.records[row].image_id}' has the answer yes {yes}, no {no}")


def shard_digests(header: AnswerHeader, answers: ShardAnswers) -> dict[str, Any]:
    """Return `rows`, the digest of dataset, teacher, questions and images, and `answers`, the digest of each key's
    column.

    Digests per column allow a subset of the columns to be read and checked.
    """
    return {
        "rows": rows_digest(header, answers),
        "answers": {
            key: column_digest(key, answers.yes[:, column], answers.no[:, column])
            for column, key in enumerate(header.questions.keys)
        },
    }


def rows_digest(header: AnswerHeader, answers: ShardAnswers) -> str:
    """Return the digest of everything but the answers, 16 hex digits."""
    questions = [[question.key, question.text] for question in header.questions.questions]
    others = zip(answers.image_sha256, answers.errors, strict=True)
    rows: list[tuple[object, ...]]
    if isinstance(answers.records, ImageRecords):
        rows = [(*row, None, *rest) for row, rest in zip(answers.records.rows(), others, strict=True)]
    else:
        rows = [
            (record.image_id, record.split, int(record.label), record.label_name, _floats(record.box), *rest)
            for record, rest in zip(answers.records, others, strict=True)
        ]
    document = [header.dataset, header.teacher_fingerprint, questions, rows]
    return _hex(json.dumps(document, ensure_ascii=True).encode())


def column_digest(key: str, yes: NDArray[np.float32], no: NDArray[np.float32]) -> str:
    """Return the digest of a column of answers, 16 hex digits.

    All NaN count as the same value: Parquet stores them as null.
    """
    missing = np.isnan(yes) | np.isnan(no)
    values = [np.where(missing, np.float32(np.nan), part).astype("<f4").tobytes() for part in (yes, no)]
    return _hex(key.encode(), *values)


def check_digests(
    digests: Mapping[str, Any], header: AnswerHeader, answers: ShardAnswers, keys: Collection[str]
) -> None:
    """Raise ValueError if `answers`, whose columns are those of `keys`, are not what was written."""
    if digests.get("rows") != rows_digest(header, answers):
        raise ValueError("its images are not those that were written")
    columns = digests.get("answers")
    for column, key in enumerate(keys):
        found = column_digest(key, answers.yes[:, column], answers.no[:, column])
        if not isinstance(columns, dict) or columns.get(key) != found:
            raise ValueError(f"its answers to '{key}' are not those that were written")


def field_digests(document: Mapping[str, Any]) -> dict[str, str]:
    """Return a digest of each field of a JSON document, 16 hex digits; `epochs[].loss` covers all entries of a list.

    Digests per field allow later releases to add fields at any depth.
    """
    values: dict[str, list[Any]] = {}
    for name, value in document.items():
        _collect(name, value, values)
    return {name: _hex(json.dumps(found).encode()) for name, found in values.items()}


def _collect(name: str, value: Any, into: dict[str, list[Any]]) -> None:
    if isinstance(value, Mapping):
        for key, each in value.items():
            _collect(f"{name}.{key}", each, into)
    elif isinstance(value, list | tuple):
        for each in value:
            _collect(f"{name}[]", each, into)
    else:
        into.setdefault(name, []).append(value)


def check_fields(document: Mapping[str, Any]) -> None:
    """Raise ValueError if a field does not match its digest in FIELDS_KEY, or has lost a part.

    Fields without a digest were added by a later release, files without digests were written by an earlier one.
    """
    if FIELDS_KEY not in document:
        return
    written = document[FIELDS_KEY]
    if not isinstance(written, dict):
        raise ValueError(f"{FIELDS_KEY} is {type(written).__name__}")
    found = field_digests({name: value for name, value in document.items() if name != FIELDS_KEY})
    for name, digest in written.items():
        whole = re.split(r"[.\[]", name, maxsplit=1)[0]
        if found.get(name) != digest and (name in found or whole in document):
            raise ValueError(f"field {printable(name, 40)} is not what was written")


def summary(digests: Mapping[str, Any]) -> str:
    """Return one digest of all digests, 16 hex digits."""
    return _hex(json.dumps(digests, sort_keys=True).encode())


def _floats(box: Corners | None) -> list[float] | None:
    return None if box is None else [float(corner) for corner in box]


def _hex(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]
