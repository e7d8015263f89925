"""Backbones that do something else in training than one would think: they work, or are refused by name in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import pytest

from student.classification import trainable
from student.classification.config import StudentConfig
from student.classification.trainable import require_trainable
from student.core import devices
from student.core.setting_errors import ConfigInvalid

KINDS = ("base", "makd-dual", "recommended", "recommended-classes")


def config_of(backbone: str, method: str, image_size: int = 64) -> StudentConfig:
    return StudentConfig(backbone=backbone, image_size=image_size, epochs=1, method=method)


@pytest.mark.parametrize(
    ("backbone", "image_size"),
    [
        ("torchvision:googlenet", 64),  # classifiers beside the last one, in training
        ("deit_tiny_distilled_patch16_224", 32),  # two classifiers
        ("levit_128s", 64),
        ("torchvision:squeezenet1_1", 64),  # a convolution for a classifier
    ],
)
def test_unusual_backbones_are_trained_by_every_kind_of_method(backbone: str, image_size: int) -> None:
    for method in KINDS:
        require_trainable(config_of(backbone, method, image_size))


def test_inception_has_one_output_in_training() -> None:
    require_trainable(config_of("torchvision:inception_v3", "makd", 80))


@pytest.mark.parametrize(
    ("backbone", "method", "image_size"),
    [
        ("coat_lite_tiny", "recommended", 64),  # inner stages pass tokens around that no hook sees
        ("torchvision:vit_b_32", "recommended", 32),
    ],
)
def test_untrainable_networks_are_rejected_by_name(backbone: str, method: str, image_size: int) -> None:
    with pytest.raises(ConfigInvalid, match=backbone) as caught:
        require_trainable(config_of(backbone, method, image_size))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("module", [trainable, devices])
def test_a_crash_is_reported_with_the_name_of_the_backbone(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []

    @contextmanager
    def reporting_crash(line: str) -> Iterator[None]:
        begun.append(line)
        yield
        begun.append("ended")

    monkeypatch.setattr(module, "reporting_crash", reporting_crash)
    config = config_of("test_resnet", "base", 33).replace(accelerator="cpu")
    if module is trainable:
        require_trainable(config)
    else:
        devices.launch(config, lambda _: begun.append("trained"))
    assert begun[0].count("backbone 'test_resnet'") == begun[0].count("another backbone") == 1
    assert begun[1:] == (["ended"] if module is trainable else ["trained", "ended"])
