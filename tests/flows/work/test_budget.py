"""Extraction within a budget: what is asked, what is kept, and what the store says about the rest."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from flows.cli.app import app
from flows.option_values import OptionInvalid, share
from flows.parameters import BudgetParameters, DatasetParameters, EngineParameters, ExtractionParameters
from flows.work.extraction import extract_aspects
from flows.work.extraction_summary import ExtractionSummary
from flows.work.forecasts import forecast_extraction
from flows.work.inputs import Inputs
from storage.answers.read import read_answers
from storage.answers.store import AnswerDirectory
from storage.datasets.folder import image_folder
from teacher.engines.base import TeacherUnreachable
from teacher.extraction import reading
from teacher.extraction.budget import rounds
from teacher.extraction.budget.cost import hours_of_question
from teacher.extraction.failures import UNREADABLE_NOW
from teacher.extraction.forecast import last_account
from tests.flows.hosts import Notes, plain_host
from tests.flows.work.engines import use_engine

QUESTIONS = 4
Extract = Callable[..., ExtractionSummary]


@pytest.fixture
def extract(scenes: Path, few_questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Extract:
    """`extract_aspects` in rounds that begin with a tenth of the pairs."""
    monkeypatch.setattr(rounds, "FIRST_IMAGES", 1)
    monkeypatch.setattr(rounds, "FIRST_SHARE", 0.1)

    def run(notes: Notes | None = None, **changes: Any) -> ExtractionSummary:
        return extract_aspects(plain_host(notes), parameters(scenes, few_questions, tmp_path / "store", **changes))

    return run


def parameters(scenes: Path, questions: Path, store: Path, **changes: Any) -> ExtractionParameters:
    given: dict[str, Any] = {
        "dataset": DatasetParameters(source=str(scenes)),
        "questions": str(questions),
        "engine": EngineParameters(name="transformers"),
        "store": str(store),
        "shard_size": 9,
        "train": False,
    }
    return ExtractionParameters(**{**given, **changes})


def answered(summary: ExtractionSummary) -> np.ndarray:
    return ~np.isnan(read_answers(AnswerDirectory.at(summary.directory)).yes)


def manifest(summary: ExtractionSummary) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(Path(f"{summary.directory}.json").read_text())
    return document


def test_a_share_of_the_pairs_is_asked_and_the_rest_is_predicted(
    extract: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, notes = use_engine(monkeypatch), Notes()
    summary = extract(notes, budget=0.5)
    pairs = summary.images * QUESTIONS
    assert engine.asked == summary.asked == answered(summary).sum()
    assert 0.4 * pairs <= engine.asked <= 0.5 * pairs + 4  # the part of the hold-out that is chosen too is random
    assert summary.failures == {}
    budget = manifest(summary)["budget"]
    assert (budget["pairs"], budget["asked"]) == (pairs, engine.asked)
    assert budget["error"] < budget["bound"] <= 1
    assert manifest(summary)["schema_version"] == 3
    assert any("have an answer, the others are predicted" in line for line in notes.lines)
    directory = AnswerDirectory.at(summary.directory)
    filled, asked = Inputs().filled_answers(directory), read_answers(directory)
    assert not np.isnan(filled.yes).any()
    np.testing.assert_array_equal(filled.yes[answered(summary)], asked.yes[answered(summary)])


def test_the_same_command_again_asks_nothing_and_changes_nothing(
    extract: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_engine(monkeypatch)
    before = manifest(extract(budget=0.5))
    engine = use_engine(monkeypatch)
    summary = extract(budget=0.5)
    assert (engine.asked, summary.ledger) == (0, None)
    assert manifest(summary) == before


def test_a_larger_budget_and_none_ask_only_the_rest(extract: Extract, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = use_engine(monkeypatch)
    small = answered(extract(budget=0.3))
    summary = extract(budget=0.7)
    assert engine.asked == answered(summary).sum()
    assert answered(summary)[small].all()
    whole = extract()
    assert engine.asked == whole.images * QUESTIONS
    assert answered(whole).all()
    assert "budget" not in manifest(whole)
    assert (manifest(whole)["schema_version"], whole.budget) == (1, None)
    beside = {path.name.rpartition(".")[2] for path in Path(whole.directory).parent.iterdir() if path.is_file()}
    assert not beside & {"choice", "predicted"}
    assert extract(budget=0.3).asked == 0  # everything is known


def test_a_killed_run_goes_on_and_asks_nothing_twice(extract: Extract, monkeypatch: pytest.MonkeyPatch) -> None:
    uninterrupted = use_engine(monkeypatch)
    calls: list[int] = []

    def before(images: int, texts: Sequence[str]) -> None:
        calls.append(images * len(texts))
        if 4 < len(calls) < 40:
            raise TeacherUnreachable("gone")

    failing = use_engine(monkeypatch, before)
    with pytest.raises(TeacherUnreachable):
        extract(budget=0.6)
    written = sum(calls[:4])
    del uninterrupted
    engine = use_engine(monkeypatch)
    summary = extract(budget=0.6)
    assert failing.asked >= written > 0
    assert engine.asked + written == answered(summary).sum()


def test_asking_ends_when_the_error_is_small_enough(extract: Extract, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = use_engine(monkeypatch)
    summary = extract(budget_error=0.99)
    assert summary.budget is not None
    assert summary.budget.bound <= 0.99
    assert 0 < engine.asked < summary.images * QUESTIONS / 2
    assert extract(budget_error=0.001).asked > 0
    assert answered(summary).all()


def test_only_images_that_are_asked_about_are_read(
    extract: Extract, scenes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_engine(monkeypatch)
    read: list[str] = []
    decode = reading.read_image

    def counted(dataset: Any, record: Any, max_pixels: Any, **settings: Any) -> Any:
        read.append(record.image_id)
        return decode(dataset, record, max_pixels, **settings)

    monkeypatch.setattr(reading, "read_image", counted)
    summary = extract(budget=0.3)
    answers = read_answers(AnswerDirectory.at(summary.directory))
    seen = {name for name, digest in zip(answers.image_ids, answers.image_sha256, strict=True) if digest is not None}
    assert set(read) == seen
    assert (
        len(seen)
        < len(answers.image_ids)
        == len([record for record in image_folder(scenes).records if record.split == "train"])
    )


def test_an_image_that_cannot_be_read_now_keeps_its_answers_and_is_asked_the_rest_later(
    extract: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_engine(monkeypatch)
    before = answered(extract(budget=0.6))
    row = int(np.flatnonzero(before.any(axis=1) & ~before.all(axis=1))[0])
    read, calls = reading.read_image, list[str]()

    def unreadable(dataset: Any, record: Any, max_pixels: Any, **settings: Any) -> Any:
        calls.append(record.image_id)
        if record.image_id == name:
            return reading.ReadImage(record, None, None, f"{UNREADABLE_NOW}: busy")
        return read(dataset, record, max_pixels, **settings)

    name = read_answers(AnswerDirectory.at(extract(budget=0.6).directory)).image_ids[row]
    monkeypatch.setattr(reading, "read_image", unreadable)
    summary = extract()
    assert name in calls
    assert summary.failures == {}
    assert answered(summary)[row].tolist() == before[row].tolist()
    assert np.delete(answered(summary), row, axis=0).all()
    monkeypatch.setattr(reading, "read_image", read)
    again = extract()
    assert again.asked == QUESTIONS - before[row].sum()
    assert answered(again).all()


def test_an_image_that_changed_is_asked_again(
    scenes: Path, few_questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    copy = Path(shutil.copytree(scenes, tmp_path / "images"))
    engine = use_engine(monkeypatch)
    asked = parameters(copy, few_questions, tmp_path / "store", budget=0.5)
    summary = extract_aspects(plain_host(), asked)
    first, answers = engine.asked, read_answers(AnswerDirectory.at(summary.directory))
    row = int(np.argmax(answered(summary).sum(axis=1)))
    other = next(path for path in copy.rglob("*.png") if path != copy / answers.image_ids[row])
    shutil.copyfile(other, copy / answers.image_ids[row])
    again = extract_aspects(plain_host(), asked)
    assert engine.asked - first <= QUESTIONS
    np.testing.assert_array_equal(answered(again), answered(summary))


@pytest.mark.parametrize("wrong", ["0", "101%", "a quarter", "-5%"])
def test_a_wrong_share_is_one_clear_line(wrong: str) -> None:
    with pytest.raises(OptionInvalid, match=r"write e\.g\. 25% or 0\.25"):
        share("--budget", wrong)
    with pytest.raises(ValueError, match="is no share above 0"):
        BudgetParameters.model_validate({"budget": wrong})


def test_a_budget_needs_questions_about_images(scenes: Path, few_questions: Path, tmp_path: Path) -> None:
    asked = parameters(scenes, few_questions, tmp_path, budget="25%", about="classes")
    assert asked.budget == 0.25
    with pytest.raises(OptionInvalid, match="--budget cannot be used with --about classes; leave it out"):
        asked.check_subject()


def test_a_forecast_says_what_the_budget_is(scenes: Path, few_questions: Path, tmp_path: Path) -> None:
    found = forecast_extraction(parameters(scenes, few_questions, tmp_path, budget="25%"))
    images = int(found[0].split()[0].replace(",", ""))
    assert f"the budget is {round(0.25 * images * QUESTIONS):,} answers in all" in found[0]


def test_show_has_the_share_and_the_bound(extract: Extract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_engine(monkeypatch)
    extract(budget=0.5)
    shown = CliRunner().invoke(app, ["show", "--store", str(tmp_path / "store")])
    assert shown.exit_code == 0, shown.output
    assert "have an answer, the others are predicted" in shown.output
    assert "pairs asked for the comparison" in shown.output


def test_hours_and_money_are_a_share_by_the_speed_that_was_measured(
    extract: Extract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_engine(monkeypatch)
    sample = extract(budget=0.3)
    store, teacher = str(tmp_path / "store"), read_answers(AnswerDirectory.at(sample.directory)).teacher
    account = last_account(store, teacher)
    assert account is not None
    # Time for four questions an image, half of which are for seeing it.
    hours = 4 * sample.images * hours_of_question(account)
    first = extract(budget_hours=hours)
    assert answered(first).mean() == pytest.approx(0.5, abs=0.05)
    pairs = sample.images * QUESTIONS
    limit = {"hours": hours, "cost": None, "pairs": pairs, "share": pytest.approx(0.5)}
    assert manifest(first)["budget"]["limit"] == limit
    # By now more was measured, and the same limit is the same share.
    again = extract(budget_hours=hours)
    assert (again.asked, manifest(again)["budget"]["limit"]) == (0, limit)
    account = last_account(store, teacher)
    assert account is not None
    priced = EngineParameters(name="transformers", price_per_gpu_hour=2.0)
    paid = extract(budget_cost=12 * sample.images * hours_of_question(account), engine=priced)
    assert answered(paid).mean() == pytest.approx(0.75, abs=0.05)


def test_a_limit_that_cannot_be_a_share_is_one_line(extract: Extract, monkeypatch: pytest.MonkeyPatch) -> None:
    use_engine(monkeypatch)
    with pytest.raises(OptionInvalid, match=r"no run in the store; ask about a sample first: aspects questions audit"):
        extract(budget_hours=1.0)
    with pytest.raises(OptionInvalid, match="--budget and --budget-hours limit the same"):
        extract(budget_hours=1.0, budget=0.5)
    extract(budget=0.3)
    with pytest.raises(OptionInvalid, match="--budget-cost needs a price; give --gpu-price"):
        extract(budget_cost=1.0)
