from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from student.classification.config import StudentConfig
from student.classification.grid import StudentGrid
from student.core.setting_errors import ConfigInvalid
from student.core.settings import TrainingConfig
from student.detection.config import DetectorConfig
from student.detection.experiment import DetectorGrid

PLAIN = {"backbone": "resnet18", "image_size": 64, "epochs": 3}


WRONG: dict[str, list[Any]] = {
    "epochs": [2.5, "3", True, None, [3], {}, 3.0, float("nan"), 0, -1],
    "image_size": ["64", 64.0, False, None],
    "pretrained": ["no", "yes", 0, 1, None, []],
    "nesterov": ["no", "true", 1.0],
    "backbone": [18, True, None, ["resnet18"]],
    "seed": [1.5, "0", -1, 1 << 63, True],
    "lr": ["0.1", True, None, float("inf"), float("nan"), [0.1]],
    "weight_decay": ["1e-4", float("nan"), None],
    "alpha": ["5", True, float("inf"), [1.0]],
    "question_count": [1.5, "3", True],
    "without_group": [3, ["visual"]],
    "milestones": [[1.5], ["2"], 3, "2,3", [[1]], [True]],
    "clip_norm": ["1", True, float("nan")],
    "warmup": [0.5, "1", None],
    "batch_size": [32.0, "32", None, True],
    "devices": [1.0, "all"],
    "threads": [1.5, "2"],
    "optimizer": [3, None, ["sgd"], {"sgd": 1}, True],
    "precision": [16, None],
    "accelerator": [0, ["cpu"]],
}


CLASSIFIERS: dict[str, list[Any]] = {
    "crop_scale": [0.5, [0.5], [0.1, 0.5, 1.0], ["0.1", "1"], None, [True, True]],
    "crop_ratio": [1.0, [1.0], "3:4"],
    "policy": [3, True, ["trivial"]],
    "keep": [1, None],
    "cache_size": ["64", 64.5, True],
    "val_fraction": ["0.1", True, float("nan")],
    "network": [5, True],
    "mixup": ["0.2", None],
    "method": [5, None, ["makd"]],
}


DETECTORS: dict[str, list[Any]] = {
    "detector": [5, None],
    "channels": [64.0, "64"],
    "anchor_scale": ["4", True],
    "shuffled": ["no", 0],
    "crop": ["no", 1],
    "watch": [5, True],
    "score_threshold": ["0.1", None],
    "method": [5, None, ["box"]],
    "image_alpha": ["1", None],
}


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        pytest.param(kind, name, value, id=f"{kind.__name__}-{name}-{value!r}")
        for kind, table in ((StudentConfig, WRONG | CLASSIFIERS), (DetectorConfig, WRONG | DETECTORS))
        for name, values in table.items()
        for value in values
    ],
)
def test_a_value_of_another_type_is_one_line(kind: type[StudentConfig], name: str, value: Any) -> None:
    with pytest.raises(ConfigInvalid, match=rf"^{name} ") as raised:
        kind.from_dict({"method": "base", **PLAIN, name: value})
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 300
    if name not in ("network", "seed"):
        grid = StudentGrid if kind is StudentConfig else DetectorGrid
        with pytest.raises(ConfigInvalid, match=rf"^{name} "):
            grid(settings={**PLAIN, "method": "base"}, axes={name: [value]}, seeds=[0], baseline={}).cells(Path("runs"))


@pytest.mark.parametrize("name", [1, True, None, (1, 2), "epoch", "\x1b[31m"])
def test_an_unknown_setting_is_one_line(name: Any) -> None:
    with pytest.raises(ConfigInvalid, match="is unknown") as raised:
        StudentConfig.from_dict({**PLAIN, name: 1})
    assert "\x1b" not in str(raised.value)


def test_whole_numbers_are_numbers_and_stay_as_they_are_given() -> None:
    config = StudentConfig.from_dict({**PLAIN, "lr": 1, "alpha": 5, "crop_scale": [1, 1]})
    assert (config.to_dict()["lr"], config.to_dict()["alpha"]) == (1, 5)


def test_a_stored_config_is_read_as_release_0_1_0_understood_it() -> None:
    stored = {**PLAIN, "nesterov": "no", "warmup": 1.0, "a_later_setting": 3}
    config = StudentConfig.from_stored(stored)
    assert (config.nesterov, config.warmup) == (True, 1)
    with pytest.raises(ConfigInvalid, match="config holds no settings"):
        StudentConfig.from_stored([])


@pytest.mark.parametrize("kind", [StudentConfig, DetectorConfig])
def test_every_setting_has_a_description(kind: type[TrainingConfig]) -> None:
    assert [name for name, field in kind.model_fields.items() if not field.description] == []


def test_the_constructor_refuses_in_one_line_too() -> None:
    with pytest.raises(ConfigInvalid, match=r"^epochs is 2.5; it must be a whole number$"):
        StudentConfig(backbone="resnet18", image_size=64, epochs=2.5)  # type: ignore[arg-type]


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        StudentConfig.from_dict(PLAIN).epochs = 5
