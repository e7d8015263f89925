"""An audit of a real teacher on rendered scenes, and the choice that rests on it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

from flows.cli.app import app
from flows.parameters import AuditParameters, DatasetParameters, EngineParameters, ExtractionParameters
from flows.work import asking
from flows.work.auditing import AuditSummary, audit_questions
from flows.work.extraction import extract_aspects
from storage.answers.store import AnswersMissing
from storage.datasets.scenes.classification import write_scenes
from storage.questions import load_questions
from teacher.questions.selection import SelectionImpossible, select_from_audit
from tests.conftest import PROJECT
from tests.flows.hosts import plain_host
from tests.flows.work.engines import use_local_workers

KEPT = ("has_red", "has_yellow", "on_grass", "is_single", "is_pair")
PLANTED = {
    "smiling": ("Is the person in the picture smiling?", "unanswerable"),
    "no_bricks": ("Is there no sign of a brick wall in the picture?", "biased to yes"),
    "meadow": ("Can a meadow be seen here?", "redundant"),
    "amber": ("Is this an amber pair?", "label leak"),
}


@pytest.fixture(scope="module", autouse=True)
def local_workers() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_local_workers(monkeypatch)
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audited") / "scenes"
    write_scenes(folder, train_per_class=12, test_per_class=0, seed=5)
    return folder


@pytest.fixture(scope="module")
def audited(root: Path) -> tuple[Path, AuditSummary]:
    """The question file, beside which the audit lies, and the audit; the store is beside it, too."""
    bundled = yaml.safe_load((PROJECT / "questions" / "scenes.yaml").read_text(encoding="utf-8"))["questions"]
    entries = [entry for entry in bundled if entry["key"] in KEPT]
    entries += [{"key": key, "text": text} for key, (text, _) in PLANTED.items()]
    path = root.parent / "planted.yaml"
    path.write_text(yaml.safe_dump({"questions": entries}, sort_keys=False), encoding="utf-8")
    return path, run_audit(path, root)


def run_audit(path: Path, root: Path, **changes: object) -> AuditSummary:
    parameters: dict[str, Any] = {
        "dataset": DatasetParameters(source=str(root)),
        "questions": str(path),
        "engine": EngineParameters(name="transformers"),
        "store": str(path.parent / "store"),
        "images": 144,
        "probed": 12,
        "truth": str(root / "ground_truth.parquet"),
    }
    return audit_questions(plain_host(), AuditParameters(**{**parameters, **changes}))


def test_planted_faults_are_found_and_good_questions_kept(audited: tuple[Path, AuditSummary]) -> None:
    path, summary = audited
    verdicts = {question.key: question.verdict for question in summary.audit.questions}
    assert verdicts == {**dict.fromkeys(KEPT, "keep"), **{key: verdict for key, (_, verdict) in PLANTED.items()}}
    measured = {question.key: question for question in summary.audit.questions}
    assert measured["on_grass"].auroc == pytest.approx(1.0, abs=0.01)
    assert measured["on_grass"].negation_agreement == pytest.approx(1.0, abs=0.05)
    assert measured["smiling"].auroc is None
    # All questions about 144 images; other words and negations of 12; 12 mirrored and one blank.
    negated = sum(question.negation is not None for question in load_questions(path).questions)
    assert summary.asked == 144 * 9 + 12 * (9 + negated) + 13 * 9
    assert pl.read_parquet(summary.files[0]).equals(summary.audit.frame())
    assert (path.parent / "planted.audit.json").is_file()


def test_a_second_audit_asks_nothing_and_a_changed_set_its_new_questions(
    audited: tuple[Path, AuditSummary], root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, summary = audited
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))["questions"]
    changed = path.parent / "changed.yaml"
    more = [*entries[1:], {"key": "blue", "text": "Is there a blue object in the picture?"}]
    changed.write_text(yaml.safe_dump({"questions": more}, sort_keys=False), encoding="utf-8")
    assert run_audit(changed, root).asked == 144 + 12 + 13

    def refuse(*_: object) -> None:
        raise AssertionError("a teacher was started")

    monkeypatch.setattr(asking, "WorkerProcess", refuse)
    again = run_audit(path, root)
    assert again.asked == 0
    assert again.audit == summary.audit


def test_a_smaller_sample_keeps_the_answers_about_the_larger(
    audited: tuple[Path, AuditSummary], root: Path, tmp_path: Path
) -> None:
    path, summary = audited
    store = str(shutil.copytree(path.parent / "store", tmp_path / "store"))
    shutil.copy(path, tmp_path / "planted.yaml")
    smaller = run_audit(tmp_path / "planted.yaml", root, store=store, images=24, probed=6)
    assert (smaller.asked, smaller.audit.images, smaller.audit.probed) == (0, 24, 6)
    again = run_audit(tmp_path / "planted.yaml", root, store=store)
    assert (again.asked, again.audit) == (0, summary.audit)


def test_answers_of_an_audit_are_not_asked_again_by_an_extraction(
    audited: tuple[Path, AuditSummary], root: Path, tmp_path: Path
) -> None:
    path, _ = audited
    store = shutil.copytree(path.parent / "store", tmp_path / "store")
    shutil.copy(path, tmp_path / "planted.yaml")
    extracted = extract_aspects(
        plain_host(),
        ExtractionParameters(
            dataset=DatasetParameters(source=str(root)),
            questions=str(tmp_path / "planted.yaml"),
            engine=EngineParameters(name="transformers"),
            store=str(store),
            train=False,
        ),
    )
    assert (extracted.asked, extracted.reused) == (0, 144 * 9)
    # From now on all answers count, not the sample's alone.
    smaller = run_audit(tmp_path / "planted.yaml", root, store=str(store), images=24)
    assert (smaller.audit.images, smaller.asked) == (144, 0)


def test_a_choice_rests_on_the_audit(audited: tuple[Path, AuditSummary], tmp_path: Path) -> None:
    path, _ = audited
    asked = load_questions(path)
    chosen, _ = select_from_audit(path, asked, 4, str(path.parent / "store"))
    assert len(chosen) == 4
    assert set(chosen.keys) < set(KEPT)
    with pytest.raises(SelectionImpossible, match=r"only 5 of 9 questions in .* are fit to be chosen, not 6"):
        select_from_audit(path, asked, 6, str(path.parent / "store"))
    with pytest.raises(AnswersMissing, match="does not have the audit's answers"):
        select_from_audit(path, asked, 2, str(tmp_path))
    with pytest.raises(SelectionImpossible, match="has changed since its audit"):
        select_from_audit(path, type(asked)(asked.questions[1:]), 2, str(path.parent / "store"))
    with pytest.raises(SelectionImpossible, match=r"run 'aspects questions audit .*' first"):
        select_from_audit(tmp_path / "other.yaml", asked, 2, str(path.parent / "store"))


def test_the_command_writes_the_chosen_questions(audited: tuple[Path, AuditSummary], tmp_path: Path) -> None:
    path, _ = audited
    out = tmp_path / "three.yaml"
    command = ["questions", "select", str(path), "--count", "3", "-o", str(out), "-s", str(path.parent / "store")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "audited: 5 keep, 1 unanswerable, 1 biased to yes, 1 redundant, 1 label leak" in result.output
    assert len(load_questions(out)) == 3
    again = CliRunner().invoke(app, command)
    assert "exists already" in str(again.exception)
