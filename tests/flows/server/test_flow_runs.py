"""Flows made of plain functions; test_deployment.py runs them on a real server."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import pytest

from flows.parameters import BriefParameters, DatasetParameters, Experiment, TeacherParameters
from flows.server.labels import labels
from flows.work.auditing import audit_questions
from flows.work.detection import detect_aspects, train_detectors
from flows.work.experiment import run_experiment
from flows.work.extraction import extract_aspects
from flows.work.generation import generate_questions
from flows.work.improving import improve_questions
from flows.work.training import train_student
from tests.conftest import PROJECT

WORK: dict[str, Callable[..., Any]] = {
    "extract-aspects": extract_aspects,
    "audit-questions": audit_questions,
    "train-student": train_student,
    "run-experiment": run_experiment,
    "detect-aspects": detect_aspects,
    "train-detector": train_detectors,
    "generate-questions": generate_questions,
    "improve-questions": improve_questions,
}


@pytest.mark.parametrize("name", WORK)
def test_a_flow_has_the_parameters_of_its_plain_function(name: str) -> None:
    from flows.server.flow_runs import flow_of, flow_signature

    flow = flow_of(WORK[name])
    assert flow.name == name
    assert flow.description
    plain = list(flow_signature(WORK[name]).parameters.values())
    shown = inspect.signature(flow.fn).parameters
    assert [(p.name, p.default, p.kind) for p in plain] == [(p.name, p.default, p.kind) for p in shown.values()]
    assert not any(isinstance(parameter.annotation, str) for parameter in shown.values())
    schema = flow.parameters.model_dump()
    assert set(schema["properties"]) == set(shown)
    assert schema["required"] == [p.name for p in plain if p.default is inspect.Parameter.empty]


DATASET = DatasetParameters(source="/data/photos/")
LABELS: list[tuple[str, dict[str, Any], str, list[str]]] = [
    (
        "extract",
        {"dataset": DATASET, "questions": "q/garden.yaml", "teacher": TeacherParameters(model="Qwen/qwen3-vl-8b")},
        "extract photos x garden by qwen3-vl-8b",
        ["dataset:photos", "questions:garden", "teacher:qwen3-vl-8b"],
    ),
    (
        "extract",
        {"dataset": DATASET, "teacher": TeacherParameters()},
        "extract photos by tiny",
        ["dataset:photos", "teacher:tiny"],
    ),
    ("train", {"dataset": DATASET, "questions": None, "teacher": "0a1b"}, "train photos", ["dataset:photos"]),
    (
        "detect",
        {"dataset": DatasetParameters(source="hf:someone/birds"), "questions": None, "box_questions": "boxes.yaml"},
        "detect birds x boxes",
        ["dataset:birds", "questions:boxes"],
    ),
    (
        "audit",
        {"dataset": DatasetParameters(source="torchvision:EuroSAT", name="mine\x1b"), "questions": "a.yaml"},
        "audit mine\\x1b x a",
        ["dataset:mine\\x1b", "questions:a"],
    ),
    (
        "generate questions",
        {"brief": BriefParameters(dataset=DATASET)},
        "generate questions photos",
        ["dataset:photos"],
    ),
    ("generate questions", {"brief": BriefParameters(classes="classes.txt")}, "generate questions", []),
    (
        "experiment",
        {"experiment": Experiment(dataset=DATASET, grid={"alpha": [1]}, runs="runs")},
        "experiment photos",
        ["dataset:photos"],
    ),
]


@pytest.mark.parametrize(("verb", "parameters", "name", "tags"), LABELS, ids=[case[2] for case in LABELS])
def test_a_run_is_named_by_its_action_and_inputs(
    verb: str, parameters: dict[str, Any], name: str, tags: list[str]
) -> None:
    found = labels(verb, parameters)
    assert (found.name, found.tags) == (name, tags)


def test_no_module_of_the_flows_is_called_like_one_of_pythons() -> None:
    # Prefect puts the folder of a flow's file on the path, where every import of the process finds it first.
    names = {path.stem for path in (PROJECT / "flows").iterdir()}
    assert names & set(sys.stdlib_module_names) == set()
