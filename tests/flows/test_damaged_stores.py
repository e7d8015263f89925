"""Every command that reads a store says in one line what is damaged; an extraction asks no more than what is lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer.testing

from flows.cli.app import app
from flows.cli.errors import explain
from storage.answers.prune import find_unreferenced
from storage.answers.read import find_answers, find_teacher_answers
from storage.answers.scan import scan_answers
from storage.answers.store import AnswerDirectory
from storage.datasets.base import FileDataset
from storage.errors import InputInvalid
from teacher.engines.config import ResolvedTeacher, TeacherConfig
from teacher.extraction.finish import finish_directory
from teacher.extraction.plan import plan_extraction
from teacher.questions.changes import compare
from tests.storage.contract import write_directory
from tests.storage.samples import HEADER, QUESTIONS, records
from tests.storage.shards import files_of

MANIFEST, SHARD = "manifest", "shard"


def field(name: str, value: Any) -> Callable[[bytes], bytes]:
    return lambda data: json.dumps(json.loads(data) | {name: value}).encode()


def fields(name: str, values: Sequence[Any]) -> dict[str, Callable[[bytes], bytes]]:
    """A change for each value of a field."""
    return {f"{name} {value!r}": field(name, value) for value in values}


def instead(text: bytes) -> Callable[[bytes], bytes]:
    return lambda data: text


def without(name: str) -> Callable[[bytes], bytes]:
    return lambda data: json.dumps({key: value for key, value in json.loads(data).items() if key != name}).encode()


def reordered(data: bytes) -> bytes:
    document = json.loads(data)
    return json.dumps(document | {"questions": document["questions"][::-1]}).encode()


def reworded(data: bytes) -> bytes:
    return data.replace(b"Is it red?", b"Is it bad?")


TEXTS = {
    "empty": b"", "5": b"5", "null": b"null", "true": b"true", "text": b'"text"', "list": b"[]", "object": b"{}",
    "list of objects": b"[{}]", "not UTF-8": b"\xff\xfe{}", "half": b'{"schema_version": 1,', "zeros": b"\0" * 500,
    "deep": b"[" * 100_000, "Infinity": b"Infinity", "long number": b"9" * 5000, "YAML": b"a: 1",
    "escape": b'"\x1b[2J"', "surrogate": b'{"schema_version": "\\ud800"}',
}  # fmt: skip
CHANGES: dict[str, Callable[[bytes], bytes]] = {
    **fields("schema_version", (None, "1", True, 0, -1, [1], {})),
    **fields("dataset", (None, 1, ["a"])),
    **fields("teacher", (None, "a", [1])),
    **fields("teacher_fingerprint", (None, 1)),
    **fields("questions", (None, {}, [], "a", [1], [{"key": "a"}],
                                                                       [{"key": "A b", "text": "?"}])),
    **fields("libraries", (None, [], {"a": 1})),
    **fields("images", (None, "5", 4, -5, 1.5)),
    **fields("shards", (None, [], {}, 5, {"part-00000.parquet": "3"},
        {"../part-00000.parquet": 5}, {"part-00000.parquet": 5, "part-00001.parquet": 0}, {"part-00009.parquet": 5},
        {"part-00000.parquet": -1, "part-00001.parquet": 6})),
    **fields("splits", (None, "train", [1])),
    **fields("runs", (None, "a", {})),
    **fields("digests", (None, [], {"part-00000.parquet": "0"})),
    **{f"no {name}": without(name) for name in ("schema_version", "dataset", "teacher", "questions", "shards", "images",
                                                "questions_fingerprint", "teacher_fingerprint", "libraries")},
    "questions reordered": reordered,
    "a text changed": reworded,
}  # fmt: skip
MANIFESTS = {**{name: instead(text) for name, text in TEXTS.items()}, **CHANGES}
SHARDS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"", "text": lambda data: b"text", "half": lambda data: data[: len(data) // 2],
    "end gone": lambda data: data[:-9], "begin gone": lambda data: data[9:], "zeros": lambda data: bytes(len(data)),
    "twice": lambda data: data + data[:200], "middle": lambda data: data[:900] + b"\xff" * 40 + data[940:],
}  # fmt: skip
ABOUT_SHARDS = (
    "shards {'part-00000.parquet': 5, 'part-00001.parquet': 0}",
    "shards {'part-00009.parquet': 5}",
    "digests {'part-00000.parquet': '0'}",
)
CASES = [*((MANIFEST, name) for name in MANIFESTS), *((SHARD, name) for name in SHARDS)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    write_directory(str(folder / "store"))
    return folder


def damaged_store(whole: Path, folder: Path, what: str, name: str) -> tuple[Path, str]:
    """A copy of the store, and the name of the file in it that is damaged."""
    store = folder / "store"
    shutil.copytree(whole / "store", store)
    (path,) = store.glob("answers/*/*/*.json" if what == MANIFEST else "answers/*/*/*/part-00000.parquet")
    path.write_bytes((MANIFESTS if what == MANIFEST else SHARDS)[name](path.read_bytes()))
    return store, path.name


READERS: dict[str, Callable[[str], object]] = {
    "train": lambda store: find_teacher_answers(store, "sample", None, None),
    "scan_answers": lambda store: scan_answers(store),
    "compare": lambda store: compare(QUESTIONS, store),
    "find_answers": lambda store: find_answers(store, "sample"),
}


@pytest.mark.parametrize(("what", "name"), CASES)
def test_readers_name_the_damaged_file_in_one_line(whole: Path, tmp_path: Path, what: str, name: str) -> None:
    store, file = damaged_store(whole, tmp_path, what, name)
    for reader, read in READERS.items():
        # Here the manifest alone is not wrong.
        if reader in ("compare", "find_answers") and (what == SHARD or name in ABOUT_SHARDS):
            continue
        with pytest.raises(InputInvalid, match="aspects extract") as raised:
            read(str(store))
        line, code = explain(raised.value) or ("", 0)
        assert code == 2
        assert "\n" not in line
        assert "\x1b" not in line
        assert file in line or "part-0000" in line
        assert len(line) < 1000


@pytest.mark.parametrize(("what", "name"), CASES)
def test_show_and_prune_list_what_can_be_read(whole: Path, tmp_path: Path, what: str, name: str) -> None:
    store, _ = damaged_store(whole, tmp_path, what, name)
    before = files_of(store)
    shown = typer.testing.CliRunner().invoke(app, ["show", "--store", str(store)], catch_exceptions=False)
    assert shown.exit_code == 0
    assert "damaged: " in shown.output
    (found,) = find_unreferenced(str(store), [])
    assert found.bytes > 0
    assert find_unreferenced(str(store), [QUESTIONS]) == []
    assert files_of(store) == before


@pytest.mark.parametrize(("what", "name"), CASES)
def test_an_extraction_asks_only_lost_answers(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, name: str
) -> None:
    store, _ = damaged_store(whole, tmp_path, what, name)
    plan = plan_with(store, monkeypatch)
    assert [shard.index for shard in plan.missing] == ([0] if what == SHARD else [])
    assert len(plan.shards) == 2
    if what == MANIFEST:
        finish_directory(plan.directory, plan.header, plan.shards, {})
        assert find_teacher_answers(str(store), "sample", None, None).image_ids == tuple(
            record.image_id for record in records(5)
        )


def plan_with(store: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A plan about images whose digests are those of the store."""
    monkeypatch.setattr("teacher.extraction.comparison.digest_of", lambda dataset, image_id, unreadable: unreadable)
    monkeypatch.setattr(ResolvedTeacher, "fingerprint", HEADER.teacher_fingerprint)
    teacher = ResolvedTeacher.__new__(ResolvedTeacher)
    object.__setattr__(teacher, "config", TeacherConfig(model="sample"))
    monkeypatch.setattr(ResolvedTeacher, "description", {"model": "sample"})
    paths = {record.image_id: store / record.image_id for record in records(5)}
    dataset = FileDataset(name="sample", class_names=["a"], records=records(5), places=paths)
    return plan_extraction(dataset, ["train"], QUESTIONS, teacher, str(store), shard_size=3)


def test_a_damaged_manifest_counts_as_missing(whole: Path, tmp_path: Path) -> None:
    store, _ = damaged_store(whole, tmp_path, MANIFEST, "5")
    directory = AnswerDirectory.locate(str(store), "sample", HEADER.teacher_fingerprint, QUESTIONS.fingerprint)
    assert directory.last_manifest() is None
    assert not directory.is_complete()
    directory.reopen()
    assert directory.manifest() is None
