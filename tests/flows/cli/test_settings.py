"""The list of settings, at the terminal and in docs/settings.md."""

from __future__ import annotations

import pytest

from student.classification.config import StudentConfig
from student.core.settings import TrainingConfig
from student.detection.config import DetectorConfig
from tests.conftest import PROJECT
from tests.flows.conftest import Aspects


def test_the_page_of_settings_is_up_to_date(aspects: Aspects) -> None:
    printed = aspects("settings", "--markdown").out
    assert printed == (PROJECT / "docs" / "settings.md").read_text(encoding="utf-8"), (
        "run `aspects settings --markdown > docs/settings.md`"
    )


@pytest.mark.parametrize(("task", "model"), [("classification", StudentConfig), ("detection", DetectorConfig)])
def test_every_setting_is_listed_with_its_default(
    aspects: Aspects, monkeypatch: pytest.MonkeyPatch, task: str, model: type[TrainingConfig]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    listed = {line.split()[0]: line for line in aspects("settings", "--task", task).out.splitlines() if line.strip()}
    assert set(model.model_fields) <= set(listed)
    assert all(field.description for field in model.model_fields.values())
    assert "the recipe's" in listed["epochs"]
    assert "one of cosine, multistep, poly, tanh" in listed["schedule"]
    for name, default in {
        "seed": "0",
        "optimizer": "sgd",
        "pretrained": "false",
        "milestones": "[]",
        "threads": "null",
    }.items():
        assert listed[name].split()[1] == default


def test_an_unknown_task_is_one_line(aspects: Aspects) -> None:
    outcome = aspects("settings", "--task", "segmentation")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
