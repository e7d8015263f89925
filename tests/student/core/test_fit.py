"""A recipe where a user changes a setting or two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from student.classification.config import StudentConfig
from student.classification.grid import StudentGrid
from student.classification.recipes import RECIPES, recipe, recipe_settings
from student.core.setting_errors import ConfigInvalid
from student.detection.config import DetectorConfig, detection_recipe
from student.detection.experiment import DetectorGrid


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("epochs", [1, 2, 3, 10])
def test_any_recipe_fits_any_number_of_epochs(name: str, epochs: int) -> None:
    config = recipe(name, epochs=epochs)
    assert config.warmup < epochs
    assert all(0 < milestone <= max(1, epochs - 1) for milestone in config.milestones)


@pytest.mark.parametrize("name", ["demo", "small", "finetune"])
def test_any_detection_recipe_fits_any_number_of_epochs(name: str) -> None:
    assert detection_recipe(name, epochs=1).warmup == 0
    assert detection_recipe("finetune", epochs=12).milestones == (8, 11)


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("small", {"epochs": 2}, {"warmup": 1}),
        ("small", {"epochs": 3}, {"warmup": 2}),  # as it always was: it fits
        ("small", {"image_size": 96}, {"cache_size": 96}),
        ("small", {"image_size": 32}, {"cache_size": 64}),
        ("paper", {"image_size": 448}, {"cache_size": 576, "resize_size": 448}),
        ("paper", {"epochs": 24}, {"milestones": (15, 18, 21)}),
        ("paper", {"epochs": 1, "milestones": [1]}, {"milestones": (1,)}),  # as it was made to fit one
        ("paper", {"epochs": 240}, {"milestones": (150, 180, 210)}),
        ("paper", {"epochs": 60, "milestones": [20]}, {"milestones": (20,)}),
        ("small", {"devices": 3}, {"batch_size": 33}),
        ("small", {"devices": 2}, {"batch_size": 32}),
        ("small", {"momentum": 0.0}, {"nesterov": False}),
        ("small", {"checkpoint_every": 100, "epochs": 2}, {"checkpoint_every": 100}),
    ],
)
def test_what_nobody_has_set_gives_way(name: str, given: dict[str, Any], expected: dict[str, Any]) -> None:
    config = recipe(name, **given)
    assert {setting: getattr(config, setting) for setting in expected} == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": 2, "warmup": 2}, r"warmup is 2; it must be below epochs \(2\)"),
        ({"image_size": 96, "cache_size": 64}, "cache_size and resize_size must be at least image_size"),
        ({"devices": 3, "batch_size": 32}, "batch_size 32 does not divide among 3 devices"),
        ({"momentum": 0.0, "nesterov": True}, "nesterov needs a momentum above 0"),
        (
            {"epochs": 2, "schedule": "multistep", "milestones": [5, 7]},
            r"milestones is \[5, 7\], all beyond the 2",
        ),
    ],
)
def test_what_somebody_has_set_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigInvalid, match=message):
        recipe("small", **given)


def test_the_cells_of_an_experiment_fit_too(tmp_path: Path) -> None:
    grid = StudentGrid(
        recipe=recipe_settings("small"),
        settings={},
        axes={"epochs": [1, 30], "method": ["base"]},
        seeds=[0],
        network={"epochs": 2, "backbone": "resnet34"},
    )
    assert [cell.config.warmup for cell in grid.cells(tmp_path) if cell.varied["epochs"] == 1] == [0]
    assert [cell.config.warmup for cell in grid.cells(tmp_path) if cell.varied["epochs"] == 30] == [2]
    assert (larger := grid.kd_teacher()) is not None
    assert (larger.warmup, larger.epochs, larger.method) == (1, 2, "base")


PLAIN = {"backbone": "resnet18", "image_size": 64, "epochs": 3}
WRONG = {
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
CLASSIFIERS = {
    "crop_scale": [0.5, [0.5], [0.1, 0.5, 1.0], ["0.1", "1"], None, [True, True]],
    "crop_ratio": [1.0, [1.0], "3:4"],
    "policy": [3, True, ["trivial"]],
    "keep": [1, None],
    "cache_size": ["64", 64.5, True],
    "val_fraction": ["0.1", None, True, float("nan")],
    "network": [5, True],
    "mixup": ["0.2", None],
    "method": [5, None, ["makd"]],
}
DETECTORS = {
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
