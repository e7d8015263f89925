import json

import pytest

from student.classification.config import StudentConfig
from student.classification.recipes import recipe
from student.core.setting_errors import ConfigInvalid


def test_json_round_trip() -> None:
    config = recipe("paper", seed=3)
    assert StudentConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "resnt18"}, "timm has no backbone 'resnt18'; did you mean resnet18"),
        ({"backbone": "resnet18.nonsense"}, "timm has no weights 'nonsense' of 'resnet18'"),
        ({"backbone": "test_byobnet", "pretrained": True, "epochs": 0}, "epochs is 0; it must be at least 1"),
        ({"epoch": 3}, "student setting 'epoch' is unknown; did you mean epochs"),
        ({"optimizer": "adam"}, "optimizer 'adam' is unknown; use one of 'sgd', 'adamw'"),
        ({"precision": "fp8"}, "precision 'fp8' is unknown"),
        ({"warmup": 30}, r"warmup is 30; it must be below epochs \(30\)"),
        ({"schedule": "multistep"}, "has no milestones"),
        ({"crop_scale": (0.9, 0.5)}, "crop_scale is"),
        ({"batch_size": 5, "devices": 2}, "batch_size 5 does not divide among 2 devices"),
        ({"cache_size": 32}, r"must be at least image_size \(64\)"),
        ({"val_fraction": 1.0}, "val_fraction is 1.0; it must be at least 0 and below 1"),
        ({"alpha": -1.0}, "alpha is -1.0"),
        ({"precision": "16-mixed"}, "precision '16-mixed' needs a GPU, and accelerator is 'cpu'"),
        ({"patience": 3, "val_fraction": 0.0}, "patience needs validation images, and val_fraction is 0"),
        ({"compile": True}, "method 'recommended' learns at inner stages, which torch.compile would leave out"),
        ({"compile": True, "method": "makd-dual"}, "method 'makd-dual' learns by a head of their own"),
        ({"layer_decay": 0.9, "backbone": "ShuffleNetV2"}, "layer_decay needs a backbone of timm"),
        ({"class_weights": "balanced", "sampler": "balanced"}, "class_weights and sampler both balance the classes"),
        ({"ema": 1.0}, "ema is 1.0; it must be above 0 and below 1"),
    ],
)
def test_nonsense_is_refused_in_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigInvalid, match=message) as caught:
        recipe("small", **changes)
    assert "\n" not in str(caught.value)


def test_the_device_does_not_change_the_identity_of_a_run() -> None:
    config = recipe("small")
    assert config.replace(devices=2, threads=1).identity() == config.identity()
    assert config.replace(lr=0.2).identity() != config.identity()


@pytest.mark.parametrize(
    ("method", "frozen"),
    [
        ("recommended-without-answers", "self-training"),
        ("labels-deep", "base"),
        ("makd-deep", "makd"),
        ("recommended-classes", "lavid"),
        ("recommended", "recommended"),
        ("kd+labels-deep", "kd"),
    ],
)
def test_the_last_layer_is_trained_by_the_simplest_of_equal_methods(method: str, frozen: str) -> None:
    config = recipe("probe", method=method, network="runs/large")
    assert config.effective().method == frozen
    assert config.replace(freeze=False).effective().method == frozen
    assert config.replace(freeze=False, inner_stages=True).effective().method == method
