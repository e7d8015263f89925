from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.answers.schema import ANSWER_TYPE, AnswerHeader, parse_shard, shard_schema, write_shard
from storage.errors import VersionUnsupported
from storage.questions import Choice, QuestionSet
from tests.storage.samples import HEADER, QUESTIONS, answers_for, box_records, records


def test_written_shards_are_read() -> None:
    answers = answers_for(records(4), damaged=2)
    stored = parse_shard(write_shard(HEADER, answers))
    assert stored.header == HEADER
    assert stored.keys == QUESTIONS.keys
    assert tuple(stored.answers.records) == answers.records
    assert (stored.answers.image_sha256, stored.answers.errors) == (answers.image_sha256, answers.errors)
    np.testing.assert_array_equal(stored.answers.yes, answers.yes)
    np.testing.assert_array_equal(stored.answers.no, answers.no)
    assert stored.answers.yes.dtype == np.float32


def test_a_box_keeps_its_number_and_corners_and_its_image_is_found_by_id() -> None:
    data = write_shard(HEADER, answers_for(box_records(3)))
    assert tuple(parse_shard(data).answers.records) == box_records(3)
    table = pq.read_table(pa.BufferReader(data))
    assert set(table["image_id"].to_pylist()) == {"train/#.png"}
    assert table["box_id"].to_pylist() == ["0", "1", "2"]


def test_only_the_columns_of_some_questions_are_read() -> None:
    answers = answers_for(records(4))
    stored = parse_shard(write_shard(HEADER, answers), [QUESTIONS.texts[2], "Is it something else?"])
    assert stored.keys == (QUESTIONS.keys[2],)
    np.testing.assert_array_equal(stored.answers.yes, answers.yes[:, 2:])
    assert parse_shard(write_shard(HEADER, answers), ()).answers.yes.shape == (4, 0)


def test_columns_have_the_documented_types() -> None:
    schema = shard_schema(HEADER)
    assert schema.names == ["image_id", "image_sha256", "split", "label", "label_name", "error", *QUESTIONS.keys]
    assert all(schema.field(key).type == ANSWER_TYPE for key in QUESTIONS.keys)


CHANGES: dict[str, tuple[Callable[[pa.Table], pa.Table], str]] = {
    "missing": (lambda table: table.drop_columns(["split"]), "0 columns are called 'split'"),
    "other type": (
        lambda table: table.set_column(
            3, pa.field("label", pa.int64(), nullable=False), table["label"].cast(pa.int64())
        ),
        "column 'label' is int64, not int32",
    ),
    "other rows": (lambda table: table.slice(1), "not those that were written"),
    "no metadata": (lambda table: table.replace_schema_metadata(None), "no 'aspects' metadata"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_tables_are_no_shards(change: str) -> None:
    changed, message = CHANGES[change]
    table = pq.read_table(pa.BufferReader(write_shard(HEADER, answers_for(records(4)))))
    buffer = pa.BufferOutputStream()
    pq.write_table(changed(table), buffer)
    with pytest.raises(ValueError, match=message):
        parse_shard(buffer.getvalue().to_pybytes())


def test_a_header_is_read_back_and_a_newer_one_refused() -> None:
    document = replace(HEADER, teacher={"model": "a", "max_pixels": None}).to_json()
    assert AnswerHeader.from_json({**document, "later": 1}).to_json() == document
    with pytest.raises(VersionUnsupported, match="newer release"):
        AnswerHeader.from_json({**document, "schema_version": 4})
    with pytest.raises(ValueError, match="field dataset"):
        AnswerHeader.from_json({**document, "dataset": 1})
    with pytest.raises(ValueError, match="not those of the fingerprint"):
        AnswerHeader.from_json({**document, "questions": document["questions"][::-1]})


def test_options_and_rows_of_classes_need_this_version_and_nothing_else_does() -> None:
    assert HEADER.to_json()["schema_version"] == 1
    assert "option" not in HEADER.to_json()["questions"][0]
    choices = replace(HEADER, questions=QuestionSet(Choice("What colour?", ("Red", "Blue")).aspects("colour")))
    document = json.loads(json.dumps(choices.to_json()))
    assert document["schema_version"] == 2
    assert AnswerHeader.from_json(document) == choices
    document["questions"][0]["option"]["index"] = 2
    with pytest.raises(ValueError, match="question 'colour_1' has no option 2"):
        AnswerHeader.from_json(document)
    classes = replace(HEADER, teacher={"about": "classes"})
    assert (classes.rows_are_classes, classes.to_json()["schema_version"]) == (True, 2)
    imported = replace(HEADER, teacher={"about": "classes", "format": "lavid"})
    assert (imported.rows_are_classes, imported.to_json()["schema_version"]) == (False, 1)


def test_skipped_pairs_are_null_and_need_a_partial_header() -> None:
    answers = answers_for(records(4))
    answers.yes[1:3, 0] = answers.no[1:3, 0] = np.nan
    partial = replace(HEADER, partial=True)
    stored = parse_shard(write_shard(partial, answers))
    assert (stored.header, partial.to_json()["schema_version"]) == (partial, 3)
    np.testing.assert_array_equal(stored.answers.yes, answers.yes)
    with pytest.raises(ValueError, match="has the answer yes nan"):
        parse_shard(write_shard(HEADER, answers))
