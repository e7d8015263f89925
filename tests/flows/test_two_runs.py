"""Two commands at once on one directory of answers: the second stops at once, says who is there, and loses nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows.cli.errors import explain
from flows.parameters import EngineParameters
from flows.work import auditing, extraction
from flows.work.asking import TeacherWorkers
from flows.work.extraction import ask_about
from flows.work.extraction_summary import ExtractionSummary
from storage.answers.directories import audits_of
from storage.answers.lease import DirectoryBusy, lease
from storage.answers.read import find_answers
from storage.datasets.base import select
from teacher.engines.base import EngineUsage
from teacher.extraction.ledger import add_up
from teacher.extraction.plan import directory_of
from teacher.extraction.prepare import prepare_directory
from teacher.questions.probes import Sample
from tests.flows.conftest import Aspects
from tests.flows.hosts import Notes, plain_host
from tests.storage.samples import QUESTIONS
from tests.storage.shards import files_of
from tests.teacher.extraction.asking import ask_all
from tests.teacher.extraction.test_plan import TEACHER, Engine, Unreadable
from tests.teacher.images import write_images


def run(dataset: Unreadable, store: Path, splits: list[str], notes: Notes | None = None) -> ExtractionSummary:
    engines: Any = SimpleNamespace(teacher=TEACHER)
    return ask_about(plain_host(notes), dataset, QUESTIONS, splits, engines, str(store), 3)


@pytest.fixture
def dataset(tmp_path: Path) -> Unreadable:
    return Unreadable(write_images(tmp_path / "photos"))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Asks in this thread instead of in processes."""
    engine = Engine()

    def ask_missing(host: object, extractions: Any, engines: object, known: Any, **options: object) -> Any:
        (asked,) = extractions
        prepare_directory(asked.plan)
        done = ask_all(asked.plan, asked.dataset, TEACHER, engine, known)
        return add_up(done, [EngineUsage()], seconds=1, start_seconds=0, workers=1, gpus=0)

    monkeypatch.setattr(extraction, "ask_missing", ask_missing)
    return engine


@pytest.mark.parametrize("splits", [["train"], ["train", "test"]])
def test_a_second_extraction_stops_at_once(
    dataset: Unreadable, tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch, splits: list[str]
) -> None:
    store, answer, refused = tmp_path / "store", engine.answer, []

    def answer_while_another_run_begins(images: Any, questions: Any) -> Any:
        with pytest.raises(DirectoryBusy) as raised:
            run(dataset, store, splits)
        refused.append(raised.value)
        return answer(images, questions)

    monkeypatch.setattr(engine, "answer", answer_while_another_run_begins)
    summary = run(dataset, store, ["train", "test"])
    assert len(refused) == 4
    line, code = explain(refused[0]) or ("", 0)
    assert code == 1
    assert f"another run (process {os.getpid()} on " in line
    assert line.endswith("wait until it is done, or stop it")
    assert (summary.asked, engine.asked) == (30, 30)
    before = files_of(store)
    assert run(dataset, store, splits).asked == 0
    assert files_of(store).keys() == before.keys()
    assert len(find_answers(str(store), "photos").shard_files()) == 4


def test_a_run_with_nothing_to_ask_removes_what_killed_ones_left(
    dataset: Unreadable, tmp_path: Path, engine: Engine
) -> None:
    store = tmp_path / "store"
    run(dataset, store, ["train"])
    before = files_of(store)
    directory = find_answers(str(store), "photos")
    teacher = Path(directory.parent)
    (teacher / f".unfinished-{directory.folder}-part-00000.parquet.0123").write_bytes(b"half")
    (teacher.parent / f".unfinished-{teacher.name}-{directory.folder}.json.0123").write_bytes(b"half")
    assert run(dataset, store, ["train"]).asked == 0
    assert files_of(store) == before


def test_an_audit_does_not_wait_for_another_run_either(dataset: Unreadable, tmp_path: Path) -> None:
    store, sample = tmp_path / "store", select(dataset, ["train"])
    directory = directory_of(Sample(dataset=dataset, records=sample), QUESTIONS, TEACHER, audits_of(str(store)))
    workers = TeacherWorkers(TEACHER, EngineParameters(), print)
    with lease(directory), pytest.raises(DirectoryBusy, match=directory.folder):
        auditing.ask_probes(plain_host(), dataset, sample, sample[:2], QUESTIONS, workers, str(store))


def test_imports_keep_other_splits_and_stop_at_a_busy_directory(aspects: Aspects, tmp_path: Path) -> None:
    write_images(tmp_path / "photos")
    names = [path.name for path in (tmp_path / "photos").rglob("*.png")]
    (tmp_path / "makd.json").write_text(json.dumps({name: [0.5, 1.0] for name in names}))
    command = ("import-answers", "makd.json", "--format", "makd", "-d", "photos", "-s", "store", "--splits")
    assert aspects(*command, "train").code == 0
    assert aspects(*command, "test").code == 0
    directory = find_answers(str(tmp_path / "store"), "photos")
    assert sorted(directory.splits()) == ["test", "train"]
    before = files_of(tmp_path / "store")
    with lease(directory):
        refused = aspects(*command, "train")
        assert refused.code == 1
        assert refused.err.startswith("error: another run (process ")
        assert refused.err.count("\n") == 1
    assert files_of(tmp_path / "store") == before


def test_prune_leaves_a_busy_directory_alone(aspects: Aspects, dataset: Unreadable, engine: Engine) -> None:
    store = Path("store")
    run(dataset, store, ["train"])
    Path("other.yaml").write_text("questions:\n- {key: other, text: 'Is it another one?'}\n")
    prune = ("store", "prune", "--store", "store", "--questions", "other.yaml", "--yes")
    directory = find_answers("store", "photos")
    with lease(directory):
        kept = aspects(*prune)
        assert (kept.code, "kept, another run uses it" in kept.out) == (0, True)
    assert directory.is_complete()
    assert "deleted 1 directories" in aspects(*prune).out
    assert not directory.is_complete()
