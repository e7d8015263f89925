"""`aspects extract --probes`: what is asked about a blank image and with negated questions, and who reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from flows.parameters import DatasetParameters, EngineParameters, ExtractionParameters, StudentParameters
from flows.work.extraction import extract_aspects
from flows.work.extraction_summary import ExtractionSummary
from flows.work.probing import ProbesImpossible
from storage.answers.store import AnswersMissing
from storage.questions import load_questions
from student.classification.stored_answers import load_teacher_answers
from student.core.examples import ExamplesInvalid
from tests.flows.hosts import plain_host
from tests.flows.work.engines import CountingEngine, use_engine

IMAGES = 24


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> CountingEngine:
    return use_engine(monkeypatch)


def extract(scenes: Path, questions: Path, store: Path, **changes: Any) -> ExtractionSummary:
    values: dict[str, Any] = {
        "dataset": DatasetParameters(source=str(scenes)),
        "questions": str(questions),
        "engine": EngineParameters(name="transformers"),
        "store": str(store),
        "train": False,
    }
    return extract_aspects(plain_host(), ExtractionParameters(**{**values, **changes}))


def test_probes_are_asked_once_and_read_with_the_answers(
    scenes: Path, few_questions: Path, tmp_path: Path, engine: CountingEngine
) -> None:
    store = tmp_path / "store"
    negated = sum(question.negation is not None for question in load_questions(few_questions).questions)
    assert negated > 0
    extract(scenes, few_questions, store)
    with pytest.raises(AnswersMissing, match="aspects extract --probes blank"):
        load_teacher_answers(str(store), "scenes", None, None, None, probes_needed=True)
    before = engine.asked
    extract(scenes, few_questions, store, probes=["blank", "negated"])
    assert engine.asked - before == 4 + negated + IMAGES * negated
    before = engine.asked
    extract(scenes, few_questions, store, probes=["negated", "blank"])
    assert engine.asked == before
    found = load_teacher_answers(str(store), "scenes", None, None, None, probes_needed=True).probes
    assert found is not None
    assert found.blank is not None
    assert found.negated is not None
    assert found.blank.yes.shape == (1, 4 + negated)
    assert found.negated.yes.shape == (IMAGES, negated)
    assert not np.isnan(found.negated.yes).any()


def test_stored_probes_serve_a_method_that_needs_them(
    scenes: Path, few_questions: Path, tmp_path: Path, engine: CountingEngine
) -> None:
    settings = {
        "method": "makd-calibrated",
        "backbone": "resnet10t",
        "image_size": 32,
        "epochs": 1,
        "pretrained": False,
    }
    student = StudentParameters(recipe="demo", settings=settings, seeds=[0], runs=str(tmp_path / "runs"))
    training: dict[str, Any] = {"train": True, "student": student}
    with pytest.raises(ExamplesInvalid, match="--probes blank"):
        extract(scenes, few_questions, tmp_path / "store", **training)
    assert engine.asked == 0
    extract(scenes, few_questions, tmp_path / "store", probes=["blank"])
    results = extract(scenes, few_questions, tmp_path / "store", **training).results
    assert results is not None
    assert "makd-calibrated" in results.table["method"].to_list()


def test_questions_without_a_negation_are_refused(scenes: Path, few_questions: Path, tmp_path: Path) -> None:
    entries = yaml.safe_load(few_questions.read_text())["questions"]
    plain = tmp_path / "plain.yaml"
    plain.write_text(yaml.safe_dump({"questions": [{"key": one["key"], "text": one["text"]} for one in entries]}))
    with pytest.raises(ProbesImpossible, match="has a negation"):
        extract(scenes, plain, tmp_path / "store", probes=["negated"])
