"""Compacted directories hold the same answers, at every moment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from storage.answers import compact as module
from storage.answers.compact import compact, compact_store
from storage.answers.directories import answer_directories
from storage.answers.lease import lease
from storage.answers.read import Answers, read_answers
from storage.answers.reuse import known_answers
from storage.answers.shards import cut_shards
from storage.answers.store import AnswerDirectory
from tests.storage.samples import HEADER, QUESTIONS, answers_for, records

IMAGES, SIZE = 11, 2


@pytest.fixture
def directory(tmp_path: Path) -> AnswerDirectory:
    found = AnswerDirectory.locate(str(tmp_path), "sample", HEADER.teacher_fingerprint, QUESTIONS.fingerprint)
    shards = cut_shards(records(IMAGES), SIZE)
    for shard in shards:
        found.write_shard(
            shard, HEADER, answers_for(tuple(shard.records), damaged=1 if len(shard.records) > 1 else None)
        )
    found.complete(HEADER, shards, {"splits": ["train"], "errors": 5, "runs": [{"images": 3}]})
    return found


def same(one: Answers, other: Answers) -> bool:
    names = ("image_ids", "image_sha256", "splits", "label_names", "errors", "questions", "level")
    same_values = all(
        np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True) for name in ("yes", "no")
    )
    return same_values and all(getattr(one, name) == getattr(other, name) for name in names)


def test_consecutive_shards_are_joined_but_the_last(directory: AnswerDirectory, tmp_path: Path) -> None:
    before, manifest = read_answers(directory), directory.manifest()
    changed, skipped = compact_store(str(tmp_path))
    assert ([(one.before, one.after) for one in changed], skipped) == ([(6, 2)], [])
    assert directory.shard_files() == ["part-00000-00004.parquet", "part-00005.parquet"]
    assert same(read_answers(directory), before)
    found = directory.manifest()
    assert manifest is not None
    assert found is not None
    different = {name for name in found if found[name] != manifest[name]}
    assert different == {"schema_version", "shards", "digests", "field_digests"}
    assert pl.scan_parquet(directory.path).select("image_id").collect()["image_id"].to_list() == list(before.image_ids)
    assert compact(directory) == (2, 2)


def test_files_are_limited_and_joined_again(directory: AnswerDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_answers(directory)
    monkeypatch.setattr(module, "SHARDS_IN_FILE", 2)
    assert compact(directory) == (6, 4)
    monkeypatch.setattr(module, "SHARDS_IN_FILE", 128)
    assert compact(directory) == (4, 2)
    assert same(read_answers(directory), before)


@pytest.mark.parametrize("moment", ["_write_manifest", "remove_file"])
def test_a_kill_leaves_the_answers_right(
    directory: AnswerDirectory, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    before = read_answers(directory)

    def killed(*given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module if moment == "_write_manifest" else AnswerDirectory, moment, killed)
        with pytest.raises(KeyboardInterrupt):
            compact(directory)
    assert len(directory.shard_files()) == 7
    assert same(read_answers(directory), before)
    compact(directory)
    assert directory.shard_files() == ["part-00000-00004.parquet", "part-00005.parquet"]
    assert same(read_answers(directory), before)


def test_incomplete_and_used_directories_are_skipped(directory: AnswerDirectory, tmp_path: Path) -> None:
    with lease(directory):
        assert compact_store(str(tmp_path)) == ([], answer_directories(str(tmp_path)))
    directory.reopen()
    assert compact_store(str(tmp_path)) == ([], answer_directories(str(tmp_path)))
    assert len(directory.shard_files()) == 6


def test_known_answers_are_found_in_compacted_files(directory: AnswerDirectory, tmp_path: Path) -> None:
    compact(directory)
    known = known_answers(str(tmp_path), ["sample"], HEADER.teacher_fingerprint)
    yes = np.full(len(QUESTIONS), np.nan, np.float32)
    assert known.fill(f"{0:064x}", QUESTIONS.reuse_keys, yes, yes.copy()) == len(QUESTIONS)
    assert known.digest_of(records(IMAGES)[8]) == f"{0:064x}"
    assert known.digest_of(records(IMAGES)[9]) is None, "it has an error"
