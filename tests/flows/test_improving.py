"""`aspects questions improve`: rounds over a pool and with a writing model, what is asked, what a stopped run keeps."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from flows.option_values import OptionInvalid
from flows.parameters import DatasetParameters, EngineParameters, ExtractionParameters, ImprovementParameters
from flows.parameters import StudentParameters as Students
from flows.work import improvement_rounds
from flows.work.extraction import extract_aspects
from flows.work.improvement_record import ImprovementInvalid
from flows.work.improving import NOISE, ImprovementSummary, improve_questions
from storage.answers.read import find_answers, read_answers
from storage.questions import load_questions
from student.classification.fold_scores import FoldScores
from teacher.questions.rounds import read_rounds
from tests.conftest import PROJECT
from tests.flows.conftest import Aspects
from tests.flows.hosts import Notes, plain_host
from tests.flows.work.engines import CountingEngine, Scores, use_engine
from tests.student.small_backbone import SMALL_BACKBONE
from tests.teacher.servers import ScriptedServer, chat_reply, scripted_server

IMAGES = 24  # two of each of the 12 classes
CLASSES = 12


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> CountingEngine:
    """Is sure of each answer, yes or no at random: an audit calls unsure ones unanswerable."""
    random = np.random.default_rng(3)

    def answer(images: int, texts: Sequence[str]) -> Scores:
        log_odds = random.choice(np.array([-6.0, 6.0], np.float32), (images, len(texts)))
        return -np.logaddexp(0, -log_odds), -np.logaddexp(0, log_odds)

    return use_engine(monkeypatch, answer)


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """A folder with a start set of three questions and a pool of nine, which has one of the three."""
    bundled = yaml.safe_load((PROJECT / "questions" / "scenes.yaml").read_text(encoding="utf-8"))["questions"]
    for name, entries in {"start": bundled[:3], "pool": bundled[2:11]}.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({"questions": entries}, sort_keys=False))
    return tmp_path


def accuracies(monkeypatch: pytest.MonkeyPatch, *top1: float) -> list[bool]:
    """Let students of consecutive rounds have these; the result collects whether they had answers."""
    trained: list[bool] = []

    def train(self: object, answers: object) -> FoldScores:
        trained.append(answers is not None)
        correct = (np.arange(IMAGES) < top1[len(trained) - 1] * IMAGES).astype(float)
        matrix = np.eye(CLASSES, dtype=np.int64)
        matrix[0, 3] = 5
        ids = tuple(map(str, range(IMAGES)))
        return FoldScores(image_ids=ids, correct=correct, matrix=matrix, seeds=1)

    monkeypatch.setattr(improvement_rounds.Improvement, "_train", train)
    return trained


def improve(sets: Path, scenes: Path, notes: Notes | None = None, **changes: Any) -> ImprovementSummary:
    values: dict[str, Any] = {
        "dataset": DatasetParameters(source=str(scenes)),
        "questions": str(sets / "start.yaml"),
        "pool": str(sets / "pool.yaml"),
        "engine": EngineParameters(name="transformers"),
        "store": str(sets / "store"),
        "sample": 12,
        "rounds": 2,
        "student": Students(recipe="demo", settings={"method": "makd"}, seeds=[0], runs=str(sets / "runs")),
    }
    return improve_questions(plain_host(notes), ImprovementParameters(**{**values, **changes}))


def test_rounds_choose_a_set_and_no_pair_is_asked_twice(
    sets: Path, scenes: Path, engine: CountingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = accuracies(monkeypatch, 0.25, 0.75, 1.0)
    notes = Notes()
    found = improve(sets, scenes, notes)
    # The start was not asked before: the first students learn the labels alone.
    assert trained == [False, True, True]
    first, second = found.record.rounds[1:]
    assert first.candidates == 11
    assert (len(first.keys), len(first.added), first.dropped) == (3, 3, ())
    assert second.gain == pytest.approx(0.25)
    assert second.confused[0] == ("amber_group", "birch_group", 5)
    assert found.record.best == 2
    assert found.record.pairs == engine.asked
    assert found.questions.keys == second.keys == load_questions(sets / "runs" / "questions.yaml").keys
    answers = read_answers(find_answers(str(sets / "store"), "scenes", questions=found.questions))
    assert len(answers.image_ids) == IMAGES
    assert not np.isnan(answers.yes).any()
    document = json.loads((sets / "runs" / "rounds.json").read_text())
    assert [one["top1"] for one in document["rounds"]] == [0.25, 0.75, 1.0]
    assert "| 2 | 3 |" in (sets / "runs" / "rounds.md").read_text()
    assert [row["round"] for row in notes.tables["rounds"]] == ["0", "1", "2"]
    assert read_rounds(sets / "runs" / "rounds.json") == found.record


def test_a_stopped_command_resumes_and_asks_nothing_again(
    sets: Path, scenes: Path, engine: CountingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracies(monkeypatch, 0.25, 0.75)  # the third training fails
    with pytest.raises(IndexError):
        improve(sets, scenes)
    asked = engine.asked
    accuracies(monkeypatch, 0.25, 0.75, 1.0)
    found = improve(sets, scenes)
    assert engine.asked == asked == found.record.pairs
    again = accuracies(monkeypatch, 0.25, 0.75, 1.0, 1.0)
    assert improve(sets, scenes).record == found.record
    assert len(again) == 3
    accuracies(monkeypatch, 0.25, 0.75, 1.0, 1.0)
    with pytest.raises(ImprovementInvalid, match="another sample; choose another --runs"):
        improve(sets, scenes, sample=9)


def test_the_budget_and_the_noise_end_the_rounds(
    sets: Path, scenes: Path, engine: CountingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracies(monkeypatch, 0.25)
    found = improve(sets, scenes, budget_pairs=105)
    assert "budget" in str(found.record.stopped)
    assert (len(found.record.rounds), found.record.best) == (1, 0)
    assert engine.asked <= 105
    accuracies(monkeypatch, 0.25, 0.25)
    found = improve(sets, scenes, rounds=3)
    # The start was never asked: the first set that was is the best, whatever students without answers reach.
    assert (found.record.stopped, len(found.record.rounds), found.record.best) == (NOISE, 2, 1)


def test_stored_answers_to_the_start_set_cost_nothing(
    sets: Path, scenes: Path, engine: CountingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract_aspects(
        plain_host(),
        ExtractionParameters(
            dataset=DatasetParameters(source=str(scenes)),
            questions=str(sets / "start.yaml"),
            engine=EngineParameters(name="transformers"),
            store=str(sets / "store"),
            train=False,
        ),
    )
    before = engine.asked
    trained = accuracies(monkeypatch, 0.25, 1.0)
    found = improve(sets, scenes, rounds=1, count=4)
    assert trained == [True, True]
    assert len(found.questions) == 4
    assert found.record.rounds[1].candidates == 8  # the pool without the question that the start has too
    assert found.record.pairs == engine.asked - before


SENSE = [
    {"key": "has_hill", "text": "Is there a hill in the background?", "negation": "Is the background flat?"},
    {"key": "names_one", "text": "Is it an amber group?", "negation": "Is it another one?"},
]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Writes `SENSE` whatever it is asked."""
    with scripted_server(lambda request: chat_reply(json.dumps({"questions": SENSE}))) as server:
        yield server


def test_a_model_writes_about_the_confused_pairs_once(
    sets: Path, scenes: Path, engine: CountingEngine, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracies(monkeypatch, 0.25, 1.0)
    written: dict[str, Any] = {"pool": None, "writer": "writer", "writer_url": server.url, "candidates": 1}
    found = improve(sets, scenes, rounds=1, count=4, **written)
    assert "has_hill" in found.questions.keys
    prompt = str(server.requests[0]["messages"][0]["content"][-1]["text"])
    assert "- amber group and birch group" in prompt
    assert f"- {load_questions(sets / 'start.yaml').texts[0]}" in prompt
    requests, asked = len(server.requests), engine.asked
    accuracies(monkeypatch, 0.25, 1.0)
    assert improve(sets, scenes, rounds=1, count=4, **written).record == found.record
    assert (len(server.requests), engine.asked) == (requests, asked)


def test_bad_inputs_are_one_line(sets: Path, scenes: Path) -> None:
    with pytest.raises(OptionInvalid, match="leave one of them out"):
        improve(sets, scenes, writer="writer")
    with pytest.raises(OptionInvalid, match="on split 'train'"):
        improve(sets, scenes, splits=["test"])
    with pytest.raises(ImprovementInvalid, match="method 'base' learns no answers"):
        improve(sets, scenes, student=Students(settings={"method": "base"}, runs=str(sets / "other")))
    # Three questions about 24 images, and eight others about the first third of the sample.
    with pytest.raises(ImprovementInvalid, match=r"budget_pairs=100 does not allow one round: .* 104 pairs at least"):
        improve(sets, scenes, budget_pairs=100)


def test_the_command_trains_students_and_prints_the_rounds(
    aspects: Aspects, sets: Path, scenes: Path, engine: CountingEngine
) -> None:
    command = [
        *("questions", "improve", sets / "start.yaml", "--pool", sets / "pool.yaml", "-d", scenes, "-s", "store"),
        *("--engine", "transformers", "--sample", 12, "--rounds", 1, "--seeds", 0, "--recipe", "demo"),
        *("--method", "makd", "--backbone", SMALL_BACKBONE, "--epochs", 1, "--image-size", 32, "--set", "warmup=0"),
        *("--set", "cache_size=32", "--set", "precision=32-true", "--runs", "runs/improve", "-o", "better.yaml"),
    ]
    outcome = aspects(*command)
    assert outcome.code == 0, outcome.err
    assert "stopped: " in outcome.out
    assert len(load_questions(Path("better.yaml"))) == 3
    asked = engine.asked
    assert aspects(*command).code == 0
    assert engine.asked == asked
    refused = aspects(*command, "--writer", "model")
    assert (refused.code, refused.err) == (
        2,
        "error: candidates come from --pool or from --writer; leave one of them out\n",
    )
