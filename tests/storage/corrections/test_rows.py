"""Corrections as values and as rows of Parquet."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.corrections import Correction, CorrectionInvalid, Shown
from storage.corrections.rows import METADATA_KEY, parse_rows, write_rows
from storage.errors import VersionUnsupported
from tests.storage.corrections.samples import answer, label

SHOWN = Shown(queue="q", rank=3, weight=0.5, draw=0.25)
ROWS = [
    label("a.png", "ant", old="bee", correction="1", user="ann"),
    answer("b.png", None, p_yes=0.25, teacher="t", note="<b>\"'é🐝", correction="2", user="ann"),
    answer("b.png", "yes", shown=SHOWN, probability=0.01, pool=99, correction="3", user="bob"),
    label("a.png", None, undoes="1", correction="4", user="bob"),
]


def test_rows_survive_the_round_trip() -> None:
    assert parse_rows(write_rows(ROWS, "sample")) == ROWS


def test_files_of_earlier_releases_have_no_probabilities() -> None:
    table = pq.read_table(pa.BufferReader(write_rows(ROWS, "sample")))
    buffer = pa.BufferOutputStream()
    pq.write_table(table.drop_columns(["probability", "pool"]), buffer)
    found = parse_rows(bytes(buffer.getvalue().to_pybytes()))
    assert found[2] == dataclasses.replace(ROWS[2], probability=None, pool=None)
    assert [found[place] for place in (0, 1, 3)] == [ROWS[place] for place in (0, 1, 3)]


def changed(data: bytes, **metadata: Any) -> bytes:
    """The file with other metadata, or without any."""
    table = pq.read_table(pa.BufferReader(data))
    buffer = pa.BufferOutputStream()
    encoded = {METADATA_KEY: json.dumps(metadata).encode()} if metadata else {}
    pq.write_table(table.replace_schema_metadata(encoded), buffer)
    return bytes(buffer.getvalue().to_pybytes())


def test_a_newer_version_is_refused() -> None:
    with pytest.raises(VersionUnsupported, match="version 2; this release reads up to 1"):
        parse_rows(changed(write_rows(ROWS, "sample"), version=2))


def test_another_table_is_no_table_of_corrections() -> None:
    with pytest.raises(ValueError, match="no table of corrections"):
        parse_rows(changed(write_rows(ROWS, "sample")))


def test_columns_of_a_later_release_are_ignored() -> None:
    table = pq.read_table(pa.BufferReader(write_rows(ROWS, "sample")))
    buffer = pa.BufferOutputStream()
    pq.write_table(table.append_column("mood", pa.array([1, 2, 3, 4])), buffer)
    assert parse_rows(bytes(buffer.getvalue().to_pybytes())) == ROWS


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "box"}, "kind 'box'"),
        ({"image_id": ""}, "names no image"),
        ({"kind": "answer"}, "names no question"),
        ({"kind": "answer", "key": "is_red", "text": "Red?", "value": "maybe"}, "'maybe' is no answer"),
        ({"value": ""}, "empty value"),
        ({"probability": 1.5, "pool": 3}, "probability 1.5"),
        ({"probability": 0.5}, "pool of None"),
    ],
)
def test_nonsense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(CorrectionInvalid, match=message):
        Correction(**{"image_id": "a.png", "kind": "label", "value": "ant", **fields})
