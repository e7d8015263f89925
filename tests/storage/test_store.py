"""Shards appear whole, resume keeps the valid ones, and Polars reads the directory without our code."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from storage.answers import find_answers, load_answers, read_answers, scan_answers
from storage.filesystem import unfinished_prefix
from storage.store import AnswerDirectory, AnswersMissing, answer_directories, cut_shards
from tests.storage.samples import HEADER, QUESTIONS, answers_for, records


def write_directory(store: Path, *, damaged: int | None = None) -> AnswerDirectory:
    directory = AnswerDirectory.locate(str(store), HEADER.dataset, HEADER.teacher_fingerprint, QUESTIONS.fingerprint)
    shards = cut_shards(records(5), 3)
    for shard in shards:
        directory.write_shard(shard, HEADER, answers_for(shard.records, damaged=damaged))
    directory.complete(HEADER, shards, {"errors": 0})
    return directory


def test_shards_follow_the_order_of_the_dataset() -> None:
    shards = cut_shards(records(5), 2)
    assert [len(shard.records) for shard in shards] == [2, 2, 1]
    assert [record for shard in shards for record in shard.records] == list(records(5))
    assert shards[1].file_name == "part-00001.parquet"


def test_a_shard_of_no_images_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        cut_shards(records(5), 0)


def test_answers_survive_the_round_trip_exactly(tmp_path: Path) -> None:
    answers = read_answers(write_directory(tmp_path, damaged=1))
    written = answers_for(records(3), damaged=1)
    np.testing.assert_array_equal(answers.yes[:3], written.yes)
    np.testing.assert_array_equal(answers.no[:3], written.no)
    assert answers.image_ids == tuple(record.image_id for record in records(5))
    assert answers.errors[:3] == (None, "file is empty", None)
    assert np.isnan(answers.p_yes[1]).all()
    assert answers.questions == QUESTIONS


def test_polars_reads_a_directory_without_our_code(tmp_path: Path) -> None:
    directory = write_directory(tmp_path, damaged=1)
    frame = pl.scan_parquet(directory.path).select("image_id", pl.col("is_red").struct.field("yes")).collect()
    assert frame.height == 5
    assert frame["yes"].null_count() == 2
    assert frame.schema["yes"] == pl.Float32


def test_long_form_has_a_row_per_image_and_question(tmp_path: Path) -> None:
    write_directory(tmp_path, damaged=1)
    frame = scan_answers(str(tmp_path)).collect()
    assert frame.height == 5 * len(QUESTIONS)
    row = frame.filter(image_id="train/a/0.png", key="is_red").row(0, named=True)
    answers = read_answers(find_answers(str(tmp_path), "sample"))
    assert row["text"] == "Is it red?"
    assert row["group"] == "visual"
    assert row["p_yes"] == pytest.approx(answers.p_yes[0, 1])
    assert row["p_yes"] == pytest.approx(np.exp(row["yes"]), abs=1e-6)
    assert frame.filter(pl.col("error").is_not_null())["p_yes"].is_null().all()


def test_only_the_same_rows_of_the_same_teacher_are_valid(tmp_path: Path) -> None:
    directory = write_directory(tmp_path)
    first = cut_shards(records(5), 3)[0]
    assert directory.valid_shard(first, HEADER) is not None
    assert directory.valid_shard(cut_shards(records(5), 2)[0], HEADER) is None
    other = dataclasses.replace(HEADER, teacher_fingerprint="other")
    assert directory.valid_shard(first, other) is None


@pytest.mark.parametrize("damage", [b"", b"PAR1 is not enough"])
def test_a_damaged_shard_is_not_valid_and_not_readable(tmp_path: Path, damage: bytes) -> None:
    directory = write_directory(tmp_path)
    (Path(directory.path) / "part-00000.parquet").write_bytes(damage)
    assert directory.valid_shard(cut_shards(records(5), 3)[0], HEADER) is None
    with pytest.raises(AnswersMissing, match="part-00000"):
        load_answers(directory.path)


def test_a_truncated_shard_is_not_valid(tmp_path: Path) -> None:
    directory = write_directory(tmp_path)
    file = Path(directory.path) / "part-00001.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    assert directory.valid_shard(cut_shards(records(5), 3)[1], HEADER) is None


def test_without_a_manifest_nothing_is_complete(tmp_path: Path) -> None:
    directory = write_directory(tmp_path)
    directory.reopen()
    assert directory.manifest() is None
    with pytest.raises(AnswersMissing, match="aspects extract"):
        find_answers(str(tmp_path), "sample")


def test_completing_removes_shards_of_an_older_cut(tmp_path: Path) -> None:
    directory = write_directory(tmp_path)
    shards = cut_shards(records(5), 5)
    directory.write_shard(shards[0], HEADER, answers_for(shards[0].records))
    directory.complete(HEADER, shards, {})
    assert directory.shard_files() == ["part-00000.parquet"]
    assert len(read_answers(directory).image_ids) == 5


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    directory = write_directory(tmp_path)
    folder = Path(directory.path)
    leftover = folder.with_name(f"{unfinished_prefix(folder.name)}part-00000.parquet.0123")
    leftover.write_bytes(b"half")
    directory.complete(HEADER, cut_shards(records(5), 3), {})
    assert sorted(path.name for path in folder.iterdir()) == ["part-00000.parquet", "part-00001.parquet"]
    assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name, f"{folder.name}.json"]


def test_two_teachers_for_one_dataset_have_to_be_told_apart(tmp_path: Path) -> None:
    write_directory(tmp_path)
    other = AnswerDirectory.locate(str(tmp_path), "sample", "ffffffffffff", QUESTIONS.fingerprint)
    shards = cut_shards(records(5), 5)
    other.write_shard(shards[0], HEADER, answers_for(shards[0].records))
    other.complete(HEADER, shards, {})
    with pytest.raises(AnswersMissing, match="teacher=ffffffffffff"):
        find_answers(str(tmp_path), "sample")
    assert find_answers(str(tmp_path), "sample", teacher="ffffffffffff").path == other.path
    assert len(answer_directories(str(tmp_path))) == 2
    assert answer_directories(str(tmp_path), "another") == []
