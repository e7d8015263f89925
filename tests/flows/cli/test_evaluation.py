"""What `aspects evaluate` does around an evaluation, whose own tests are in tests/student."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

# These import by name what `calls` replaces. First imported while it is replaced, they would keep the fakes.
import student.classification.experiment
import student.detection.experiment  # noqa: F401
from flows.cli import evaluation
from flows.parameters import AnswersParameters, BoxParameters, DatasetParameters
from storage.answers.store import AnswersMissing
from tests.storage.contract import write_directory

RUN = Path("run")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The answers that each evaluation is given; datasets are called `sample`, and nothing is evaluated."""
    found: list[Any] = []

    def evaluate(run: Path, images: object, answers: object, split: str, **options: object) -> object:
        found.append(answers)
        return SimpleNamespace(aspects=(), image_aspects=(), box_aspects=(), groups=(), images=1, boxes=1)

    config = SimpleNamespace(balance=None)
    learned = SimpleNamespace(aspects=(), image_aspects=(), box_aspects=(), config=config)
    monkeypatch.setattr("student.core.runs.read_description", lambda run, kind: learned)
    monkeypatch.setattr("student.classification.evaluate.evaluate", evaluate)
    monkeypatch.setattr("student.detection.evaluate.evaluate_detector", evaluate)
    monkeypatch.setattr("student.classification.plots.plot_reliability", lambda scores, path: None)
    monkeypatch.setattr("student.core.evaluation.why_unscored", lambda *scored, what="images": [f"why of {what}"])
    for name in ("print_evaluation", "print_detection_evaluation"):
        monkeypatch.setattr(f"flows.cli.report.{name}", lambda scores: None)
    monkeypatch.setattr(evaluation, "print_confusion", lambda scores: None)
    for name in ("open", "open_detection"):
        monkeypatch.setattr(DatasetParameters, name, lambda self: SimpleNamespace(name="sample"))
    return found


def asked(store: Path, **named: str) -> AnswersParameters:
    return AnswersParameters(dataset=DatasetParameters(source="photos"), store=str(store), **named)


def test_aspects_of_a_classifier_are_scored_on_the_stores_answers_if_asked(calls: list[Any], tmp_path: Path) -> None:
    write_directory(str(tmp_path))
    told = [
        evaluation.evaluate_classifier(RUN, asked(tmp_path), "test", scored=scored, calibrate=False)
        for scored in (False, True)
    ]
    assert told == [[], ["why of images"]]
    assert [known if known is None else known.dataset for known in calls] == [None, "sample"]
    with pytest.raises(AnswersMissing, match="0a"):
        evaluation.evaluate_classifier(RUN, asked(tmp_path, teacher="0a"), "test", scored=True, calibrate=False)


def test_aspects_of_a_detector_are_scored_on_the_sets_that_are_named(calls: list[Any], tmp_path: Path) -> None:
    write_directory(str(tmp_path))
    (tmp_path / "set.yaml").write_text("questions: [{key: is_red, text: 'Is it red?'}]")
    boxes = BoxParameters()
    assert evaluation.evaluate_detector(RUN, asked(tmp_path), None, boxes, "test", scored=False) == []
    (line,) = evaluation.evaluate_detector(RUN, asked(tmp_path), None, boxes, "test", scored=True)
    assert line == "no aspects are scored; name what was asked with --questions or --box-questions"
    assert calls[0] is None
    assert (calls[1].images, calls[1].boxes) == (None, None)
    with pytest.raises(AnswersMissing, match=r"'sample\.crop'"):
        evaluation.evaluate_detector(RUN, asked(tmp_path), str(tmp_path / "set.yaml"), boxes, "test", scored=True)
