"""The tests that every kind of store passes; each one's test file subclasses `StoreContract`."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest

from storage.answers.directories import answer_directories
from storage.answers.read import find_answers, load_answers, read_answers
from storage.answers.scan import scan_answers
from storage.answers.shards import cut_shards
from storage.answers.store import AnswerDirectory, AnswersMissing
from storage.filesystem import unfinished_prefix, write_whole
from tests.storage.samples import HEADER, QUESTIONS, answers_for, box_records, records


def write_directory(store: str, *, damaged: int | None = None, teacher: str | None = None) -> AnswerDirectory:
    """Five images in shards of three and two, complete."""
    header = dataclasses.replace(HEADER, teacher_fingerprint=teacher or HEADER.teacher_fingerprint)
    directory = AnswerDirectory.locate(store, header.dataset, header.teacher_fingerprint, QUESTIONS.fingerprint)
    shards = cut_shards(records(5), 3)
    for shard in shards:
        directory.write_shard(shard, header, answers_for(shard.records, damaged=damaged))
    directory.complete(header, shards, {"errors": 0})
    return directory


class StoreContract:
    """Subclasses give a fixture `store`: the address of a new store."""

    def test_a_new_store_is_empty(self, store: str) -> None:
        assert answer_directories(store) == []
        with pytest.raises(AnswersMissing, match="aspects extract"):
            find_answers(store, "sample")

    def test_answers_survive_the_round_trip_exactly(self, store: str) -> None:
        answers = read_answers(write_directory(store, damaged=1))
        written = answers_for(records(3), damaged=1)
        np.testing.assert_array_equal(answers.yes[:3], written.yes)
        np.testing.assert_array_equal(answers.no[:3], written.no)
        assert answers.image_ids == tuple(record.image_id for record in records(5))
        assert answers.errors[:3] == (None, "file is empty", None)
        assert np.isnan(answers.p_yes[1]).all()
        assert answers.questions == QUESTIONS

    def test_boxes_have_a_row_each_with_their_place(self, store: str) -> None:
        header = dataclasses.replace(HEADER, dataset="sample.crop")
        directory = AnswerDirectory.locate(store, header.dataset, header.teacher_fingerprint, QUESTIONS.fingerprint)
        (shard,) = cut_shards(box_records(3), 3)
        directory.write_shard(shard, header, answers_for(shard.records))
        directory.complete(header, [shard], {})
        stored = directory.valid_shard(shard, header)
        assert stored is not None
        assert tuple(stored.records) == shard.records
        rows = scan_answers(store).collect()
        assert set(rows["image_id"]) == {"train/#.png"}
        assert rows["box_id"].unique().sort().to_list() == ["0", "1", "2"]
        write_directory(store)
        assert scan_answers(store).collect()["box_id"].null_count() == 5 * len(QUESTIONS)

    def test_long_form_has_a_row_per_image_and_question(self, store: str) -> None:
        write_directory(store, damaged=1)
        frame = scan_answers(store).collect()
        assert frame.height == 5 * len(QUESTIONS)
        row = frame.filter(image_id="train/a/0.png", key="is_red").row(0, named=True)
        answers = read_answers(find_answers(store, "sample"))
        assert row["text"] == "Is it red?"
        assert row["group"] == "visual"
        assert row["p_yes"] == pytest.approx(answers.p_yes[0, 1])
        assert row["p_yes"] == pytest.approx(np.exp(row["yes"]), abs=1e-6)
        assert frame.filter(pl.col("error").is_not_null())["p_yes"].is_null().all()

    def test_only_the_same_rows_of_the_same_teacher_are_valid(self, store: str) -> None:
        directory = write_directory(store)
        first = cut_shards(records(5), 3)[0]
        assert directory.valid_shard(first, HEADER) is not None
        assert directory.valid_shard(cut_shards(records(5), 2)[0], HEADER) is None
        other = dataclasses.replace(HEADER, teacher_fingerprint="other")
        assert directory.valid_shard(first, other) is None

    @pytest.mark.parametrize("kept", [0, 4, 100, -20])
    def test_a_truncated_shard_is_neither_valid_nor_read(self, store: str, kept: int) -> None:
        directory = write_directory(store)
        path = f"{directory.path}/part-00000.parquet"
        with directory.filesystem.open_input_file(path) as file:
            whole = file.read()
        write_whole(directory.filesystem, path, whole[:kept])
        assert directory.valid_shard(cut_shards(records(5), 3)[0], HEADER) is None
        with pytest.raises(AnswersMissing, match="part-00000"):
            load_answers(f"{store}{directory.path[directory.path.index('/answers/') :]}")

    def test_without_a_manifest_nothing_is_complete(self, store: str) -> None:
        directory = write_directory(store)
        directory.reopen()
        assert directory.manifest() is None
        with pytest.raises(AnswersMissing, match="aspects extract"):
            find_answers(store, "sample")

    def test_the_last_manifest_is_kept_until_the_directory_is_complete_again(self, store: str) -> None:
        directory = write_directory(store)
        shards = cut_shards(records(5), 3)
        directory.complete(HEADER, shards, {"runs": ["first"]})
        directory.reopen()
        directory.reopen()  # a run was killed, and another one begins
        assert directory.manifest() is None
        assert (directory.last_manifest() or {})["runs"] == ["first"]
        directory.complete(HEADER, shards, {"runs": ["first", "second"]})
        assert (directory.last_manifest() or {})["runs"] == ["first", "second"]

    def test_completing_removes_what_older_runs_left(self, store: str) -> None:
        directory = write_directory(store)
        parent, _, folder = directory.path.rpartition("/")
        write_whole(directory.filesystem, f"{parent}/{unfinished_prefix(folder)}part-00000.parquet.0123", b"half")
        shards = cut_shards(records(5), 5)
        directory.write_shard(shards[0], HEADER, answers_for(shards[0].records))
        directory.complete(HEADER, shards, {})
        assert directory.shard_files() == ["part-00000.parquet"]
        assert len(read_answers(directory).image_ids) == 5
        left = directory.filesystem.get_file_info(f"{parent}/{unfinished_prefix(folder)}part-00000.parquet.0123")
        assert left.type.name == "NotFound"

    def test_two_teachers_for_one_dataset_need_a_choice(self, store: str) -> None:
        write_directory(store)
        other = write_directory(store, teacher="ffffffffffff")
        with pytest.raises(AnswersMissing, match="teacher=ffffffffffff"):
            find_answers(store, "sample")
        assert find_answers(store, "sample", teacher="ffffffffffff").path == other.path
        assert len(answer_directories(store)) == 2
        assert answer_directories(store, "another") == []
