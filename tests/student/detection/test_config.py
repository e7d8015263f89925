from __future__ import annotations

from typing import Any

import pytest

from student.classification.config import StudentConfig
from student.core.setting_errors import ConfigInvalid
from student.detection.config import DETECTION_RECIPES, DetectorConfig, detection_recipe


@pytest.mark.parametrize("name", DETECTION_RECIPES)
def test_recipes_are_configs_that_survive_json(name: str) -> None:
    config = detection_recipe(name)
    assert DetectorConfig.from_dict(config.to_dict()) == config
    assert config.identity().keys().isdisjoint({"accelerator", "threads", "devices", "watch"})


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"detector": "yolo"}, "detector 'yolo' is unknown; use one of 'faster-rcnn', 'fcos', 'retinanet'"),
        ({"method": "makd"}, "method 'makd' is unknown; use one of 'base', 'image', 'box', 'both'"),
        ({"channels": 40, "detector": "fcos"}, "channels is 40; fcos wants a multiple of 32"),
        ({"finest_stride": 3}, "finest_stride 3 is unknown; use one of 2, 4, 8, 16, 32"),
        ({"image_alpha": -1.0}, "image_alpha is -1.0; it must be at least 0"),
        ({"score_threshold": 2.0}, "score_threshold is 2.0; it must be between 0 and 1"),
        ({"optimizer": None}, "optimizer null is unknown; use one of 'sgd', 'adamw'"),
        ({"anchor_scales": 4.0}, "student setting 'anchor_scales' is unknown; did you mean anchor_scale"),
        ({"mixup": 0.2}, "student setting 'mixup' is unknown"),
    ],
)
def test_contradicting_settings_are_one_line(changes: dict[str, Any], wanted: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        detection_recipe("demo", **changes)
    assert wanted in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_recipe_is_named() -> None:
    with pytest.raises(ConfigInvalid, match="detection recipe 'paper' is unknown; use one of demo, small, finetune"):
        detection_recipe("paper")


@pytest.mark.parametrize(
    ("method", "weights"), [("base", (0, 0)), ("box", (4, 0)), ("image", (0, 2)), ("both", (4, 2))]
)
def test_the_method_says_which_aspects_have_a_weight(method: str, weights: tuple[float, float]) -> None:
    config = detection_recipe("demo", method=method, alpha=4.0, image_alpha=2.0)
    assert (config.box_alpha, config.whole_alpha) == weights
    effective = config.effective()
    assert (effective.box_alpha, effective.whole_alpha) == weights


def test_settings_that_a_method_makes_no_use_of_do_not_tell_runs_apart() -> None:
    base = [detection_recipe("demo", method="base", alpha=alpha).effective() for alpha in (1.0, 5.0)]
    assert base[0] == base[1]


def test_both_kinds_of_student_share_their_settings() -> None:
    shared = {"backbone", "image_size", "epochs", "alpha", "lr", "seed", "question_count", "train_fraction"}
    for kind in (DetectorConfig, StudentConfig):
        assert shared <= set(kind.model_fields)
