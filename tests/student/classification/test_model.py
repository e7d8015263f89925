from typing import Any, cast

import pytest
import torch

from student.classification.config import STUDENTS, StudentConfig
from student.classification.model import build_student, without_aspects
from student.classification.recipes import recipe
from student.core.setting_errors import ConfigInvalid
from student.core.stages import Stage, inner_stages

FAMILIES = ["test_resnet", "test_vit", "test_efficientnet", "test_convnext"]


def config_of(backbone: str, seed: int = 0) -> StudentConfig:
    return StudentConfig(backbone=backbone, image_size=32, epochs=1, seed=seed, method="makd")


@pytest.mark.parametrize("backbone", FAMILIES)
def test_base_and_distilled_of_one_seed_start_alike(backbone: str) -> None:
    base = build_student(config_of(backbone), classes=5, aspects=0).eval()
    distilled = build_student(config_of(backbone), classes=5, aspects=3).eval()
    images = torch.randn(2, 3, 32, 32)
    # Products of matrices of other shapes may be added up in another order.
    torch.testing.assert_close(base(images).class_logits_BC, distilled(images).class_logits_BC)
    assert distilled(images).aspect_logits_BQ.shape == (2, 3)
    narrow = base.state_dict()
    for name, tensor in distilled.state_dict().items():
        assert torch.equal(tensor[: len(narrow[name])] if tensor.dim() else tensor, narrow[name]), name


def test_other_seeds_start_elsewhere_and_torchs_generator_is_left_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    first = build_student(config_of("test_resnet", seed=0), classes=5, aspects=3).state_dict()
    assert torch.equal(torch.rand(1), expected)
    second = build_student(config_of("test_resnet", seed=1), classes=5, aspects=3).state_dict()
    assert any(not torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("backbone", FAMILIES)
def test_dropping_the_aspects_keeps_the_class_logits(backbone: str) -> None:
    config = config_of(backbone)
    student = build_student(config, classes=5, aspects=3).eval()
    images = torch.randn(2, 3, 32, 32)
    narrow = without_aspects(student, config)
    assert narrow(images).aspect_logits_BQ.shape == (2, 0)
    torch.testing.assert_close(narrow(images).class_logits_BC, student(images).class_logits_BC)


def test_a_dual_head_gives_the_aspects_a_hidden_layer_of_their_own() -> None:
    config = config_of("test_resnet").replace(method="makd-dual")
    student = build_student(config, classes=5, aspects=3).eval()
    base = build_student(config_of("test_resnet"), classes=5, aspects=0).eval()
    images = torch.randn(2, 3, 32, 32)
    class_logits, aspect_logits, _ = student(images)
    assert torch.equal(class_logits, base(images).class_logits_BC)
    assert student.aspect_head is not None
    assert torch.equal(aspect_logits, student.aspect_head(student.features(images)))
    assert torch.equal(cast(Any, student.network.get_classifier)()(student.features(images)), class_logits)
    narrow = without_aspects(student, config)
    assert torch.equal(narrow(images).class_logits_BC, class_logits)
    assert narrow(images).aspect_logits_BQ.shape == (2, 0)


@pytest.mark.parametrize(
    ("backbone", "channels"),
    [("test_resnet", [48, 192]), ("test_vit", [64, 64]), ("test_efficientnet", [32, 48]), ("test_convnext", [32, 48])],
)
def test_inner_stages_predict_aspects_in_training_and_change_nothing_else(backbone: str, channels: list[int]) -> None:
    config = config_of(backbone).replace(method="makd-deep")
    student = build_student(config, classes=5, aspects=3)
    assert [stage.channels for stage in student.stages] == channels
    images = torch.randn(2, 3, 32, 32)
    plain = build_student(config_of(backbone), classes=5, aspects=3).eval()
    said = student.eval()(images)
    assert said.inner == ()
    assert torch.equal(said.class_logits_BC, plain(images).class_logits_BC)
    _, inner = student.train()(images).inner
    assert (inner.class_logits_BC.shape, inner.aspect_logits_BQ.shape) == ((2, 5), (2, 3))
    sum(stage.aspect_logits_BQ.sum() for stage in student(images).inner).backward()
    assert not any(head.weight.grad is None for head in student.inner_heads)
    assert [stage.channels for stage in inner_stages(student.network, 1, 32)] == channels[1:]
    assert not any(module._forward_hooks for module in student.modules())


def test_stages_that_a_backbone_does_not_name_are_found_by_their_resolution() -> None:
    config = StudentConfig(backbone="ShuffleNetV2", image_size=64, epochs=1)
    student = build_student(config, classes=5, aspects=3)
    assert student.stages == (Stage("stage2", 116), Stage("stage3", 232))
    assert len(student(torch.randn(2, 3, 64, 64)).inner) == 2
    resnet = StudentConfig(backbone="torchvision:resnet18", image_size=64, epochs=1)
    assert [stage.module for stage in build_student(resnet, classes=5, aspects=0).stages] == ["layer2", "layer3"]


def test_torchvisions_backbones_are_built_like_timms() -> None:
    config = StudentConfig(backbone="ShuffleNetV2", image_size=32, epochs=1)
    assert config.backbone == "torchvision:shufflenet_v2_x1_0"
    images = torch.randn(2, 3, 32, 32)
    base = build_student(config, classes=5, aspects=0).eval()
    wide = build_student(config, classes=5, aspects=3).eval()
    assert torch.equal(base(images).class_logits_BC, wide(images).class_logits_BC)
    assert wide.features(images).shape == (2, 1024)
    assert wide.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("name", STUDENTS)
def test_students_have_the_names_of_the_papers(name: str) -> None:
    config = StudentConfig(backbone=name, image_size=224, epochs=1)
    assert config.backbone == STUDENTS[name]
    assert recipe("paper", backbone=name).backbone == STUDENTS[name]


def test_a_backbone_that_cannot_be_built_is_one_line() -> None:
    with pytest.raises(ConfigInvalid, match="backbone 'test_vit' cannot be built for 33 px") as caught:
        build_student(StudentConfig(backbone="test_vit", image_size=33, epochs=1), classes=5, aspects=0)
    assert "\n" not in str(caught.value)
