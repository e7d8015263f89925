"""A recipe where a user changes a setting or two."""

from __future__ import annotations

from typing import Any

import pytest

from student.classification.recipes import RECIPES, recipe
from student.core.setting_errors import ConfigInvalid
from student.detection.config import detection_recipe


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
        ("probe", {"image_size": 64}, {"resize_size": 73}),
        ("lavid", {"image_size": 112}, {"cache_size": 288, "resize_size": 128}),
        ("demo", {"keep": "best"}, {"val_fraction": None}),
        ("demo", {"patience": 3}, {"val_fraction": None}),
        ("demo", {"keep": "best", "val_fraction": 0.0}, {"val_fraction": 0.0}),
        ("demo", {"keep": "last"}, {"val_fraction": 0.0}),
        ("paper", {"epochs": 24}, {"milestones": (15, 18, 21)}),
        ("paper", {"epochs": 1, "milestones": [1]}, {"milestones": (1,)}),  # as it was made to fit one
        ("paper", {"epochs": 240}, {"milestones": (150, 180, 210)}),
        ("paper", {"epochs": 60, "milestones": [20]}, {"milestones": (20,)}),
        ("small", {"devices": 3}, {"batch_size": 33}),
        ("small", {"devices": 2}, {"batch_size": 32}),
        ("small", {"momentum": 0.0}, {"nesterov": False}),
        ("finetune", {"weights": "some.pth"}, {"pretrained": False}),
        ("small", {"checkpoint_every": 100, "epochs": 2}, {"checkpoint_every": 100}),
    ],
)
def test_recipe_settings_are_fitted_to_the_given_ones(
    name: str, given: dict[str, Any], expected: dict[str, Any]
) -> None:
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
def test_contradicting_settings_are_rejected(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigInvalid, match=message):
        recipe("small", **given)
