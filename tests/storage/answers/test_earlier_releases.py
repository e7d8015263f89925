"""What earlier releases wrote is read, what a newer one wrote is refused and left alone."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from flows.cli.show import show_store
from storage.answers.directories import answer_directories
from storage.answers.prune import find_unreferenced
from storage.answers.read import find_answers, load_answers, read_answers
from storage.answers.reuse import known_answers
from storage.answers.scan import scan_answers
from storage.answers.shards import cut_shards
from storage.answers.store import AnswerDirectory
from storage.errors import VersionUnsupported
from teacher.questions.changes import compare
from tests.storage.contract import write_directory
from tests.storage.samples import HEADER, QUESTIONS, answers_for, box_records, records
from tests.storage.shards import VERSION_1, files_of, set_header

TEACHER = HEADER.teacher_fingerprint
READERS: dict[str, Callable[[str], object]] = {
    "find": lambda store: read_answers(find_answers(store, "sample")),
    "scan": lambda store: scan_answers(store).collect(),
    "reuse": lambda store: known_answers(store, ["sample"], TEACHER, QUESTIONS.texts),
    "prune": lambda store: find_unreferenced(store, []),
    "show": lambda store: show_store(store, None, 3),
    "compare": lambda store: compare(QUESTIONS, store),
    "valid": lambda store: answer_directories(store)[0].valid_shard(cut_shards(records(5), 3)[0], HEADER),
    "splits": lambda store: answer_directories(store)[0].splits(),
    "reopen": lambda store: answer_directories(store)[0].reopen(),
}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_directory(str(tmp_path / "store"))
    return tmp_path / "store"


def test_a_store_of_version_1_is_read_whole() -> None:
    answers = read_answers(find_answers(str(VERSION_1), "sample"))
    assert answers.questions == QUESTIONS
    assert answers.errors == (None, "file is empty", None, None, "file is empty")
    np.testing.assert_array_equal(answers.yes[:3], answers_for(records(3), damaged=1).yes)
    boxes = find_answers(str(VERSION_1), "sample.crop")
    header = dataclasses.replace(HEADER, dataset="sample.crop")
    assert boxes.valid_shard(cut_shards(box_records(3), 3)[0], header) is not None


def test_a_store_of_version_1_gets_digests_when_it_is_completed(tmp_path: Path) -> None:
    shutil.copytree(VERSION_1, tmp_path / "store")
    directory = find_answers(str(tmp_path / "store"), "sample")
    assert directory.splits() == ["train"]
    shards = cut_shards(records(5), 3)
    assert all(directory.valid_shard(shard, HEADER) for shard in shards)
    before = files_of(tmp_path / "store")
    directory.complete(HEADER, shards, {"runs": (directory.manifest() or {})["runs"]})
    changed = {name for name, data in files_of(tmp_path / "store").items() if before[name] != data}
    assert [Path(name).suffix for name in changed] == [".json"]
    manifest = directory.manifest() or {}
    assert sorted(manifest["digests"]) == sorted(manifest["shards"])
    assert manifest["runs"][0]["questions"] == 15


def set_manifest(store: Path, **fields: object) -> None:
    (path,) = store.glob("answers/*/*/*.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("version", [4, 3.5, 999, "4", "4.1.0"])
def test_a_newer_shard_is_refused_and_left_alone(store: Path, reader: str, version: float) -> None:
    for path in store.rglob("*.parquet"):
        set_header(path, schema_version=version)
    if reader in ("prune", "compare", "reopen"):  # what the manifest says is enough for them
        set_manifest(store, schema_version=version)
    before = files_of(store)
    with pytest.raises(VersionUnsupported, match=r"newer release .*update aspects"):
        READERS[reader](str(store))
    assert files_of(store) == before


@pytest.mark.parametrize("reader", sorted(READERS.keys() - {"valid"}))
def test_a_newer_manifest_is_refused_and_left_alone(store: Path, reader: str) -> None:
    set_manifest(store, schema_version=4)
    before = files_of(store)
    with pytest.raises(VersionUnsupported, match=r"manifest .*questions=\w+\.json was written by a newer release"):
        READERS[reader](str(store))
    assert files_of(store) == before


def test_fields_that_a_later_release_of_the_same_version_adds_are_ignored(store: Path) -> None:
    entries = [{**entry, "weight": 1} for entry in HEADER.to_json()["questions"]]
    for path in store.rglob("*.parquet"):
        set_header(path, camera="x", questions=entries)
    set_manifest(store, later={"a": [1]}, questions=entries)
    directory = AnswerDirectory.locate(str(store), "sample", TEACHER, QUESTIONS.fingerprint)
    assert load_answers(directory.path).questions == QUESTIONS
    assert directory.valid_shard(cut_shards(records(5), 3)[0], HEADER) is not None
