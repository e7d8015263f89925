"""Aspects are learnt beside torchvision's own detectors, which they leave as they are."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet

from student.core.setting_errors import ConfigInvalid
from student.detection.config import DetectorConfig, detection_recipe
from student.detection.model import Detector, build_detector, step_losses, without_aspects

KINDS = {"faster-rcnn": FasterRCNN, "fcos": FCOS, "retinanet": RetinaNet}


def config(**changes: Any) -> DetectorConfig:
    small = {"backbone": "test_resnet", "image_size": 64, "channels": 32, "hidden": 16, "proposals": 20}
    return detection_recipe("demo", **{**small, **changes})


def two_boxes() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """An image with two boxes, one of which has an answer to the first of two questions only."""
    image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(1))
    target = {
        "boxes": torch.tensor([[4.0, 4, 24, 24], [30, 30, 62, 58]]),
        "labels": torch.tensor([0, 2]),
        "aspects": torch.tensor([[0.9, float("nan")], [0.2, 0.7]]),
        "image_aspects": torch.tensor([0.6]),
    }
    return [image], [target]


def detector_of(kind: str, **changes: Any) -> Detector:
    asked = config(detector=kind, **changes)
    return build_detector(asked, classes=3, box_aspects=2, image_aspects=1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_network_is_torchvisions(kind: str) -> None:
    assert isinstance(detector_of(kind).network, KINDS[kind])
    base = build_detector(config(detector=kind), classes=3, box_aspects=0, image_aspects=0)
    assert type(base.network) is KINDS[kind]
    assert base.box_aspects is None


def test_box_aspects_of_proposals_by_hand() -> None:
    """Faster R-CNN: the logits of every matched proposal against its own box's answers, unanswered ones left out."""
    detector = detector_of("faster-rcnn")
    images, targets = two_boxes()
    seen: list[Tensor] = []
    assert detector.box_aspects is not None
    hook = detector.network.roi_heads.box_head.register_forward_hook(lambda _, __, output: seen.append(output))
    torch.manual_seed(0)
    losses = detector(images, targets)
    hook.remove()
    (index,), (label,) = detector.network.roi_heads.matched
    assert {0, 1} <= set(index[label > 0].tolist())  # the boxes themselves are among the proposals
    logits = detector.box_aspects.outputs(seen[0])
    terms = []
    for row in torch.nonzero(label > 0).flatten().tolist():
        for question in range(2):
            p_yes = targets[0]["aspects"][index[row], question]
            if not p_yes.isnan():
                q = logits[row, question].sigmoid()
                terms.append(-(p_yes * q.log() + (1 - p_yes) * (1 - q).log()))
    torch.testing.assert_close(losses["box_aspects"], torch.stack(terms).mean())


@pytest.mark.parametrize("kind", ["fcos", "retinanet"])
def test_box_aspects_of_places_by_hand(kind: str) -> None:
    detector = detector_of(kind)
    images, targets = two_boxes()
    seen: list[Tensor] = []
    tower = detector.network.head.classification_head.conv
    hook = tower.register_forward_hook(lambda _, __, output: seen.append(output))
    losses = detector(images, targets)
    hook.remove()
    assert detector.box_aspects is not None
    maps = [detector.box_aspects.outputs(one)[0] for one in seen]
    (index,) = detector.network.head.matched
    anchors = detector.network.anchor_generator.num_anchors_per_location()[0]
    terms, row = [], 0
    for one in maps:
        for y in range(one.shape[1]):
            for x in range(one.shape[2]):
                for _ in range(anchors):
                    box, row = int(index[row]), row + 1
                    if box >= 0:
                        for question in range(2):
                            p_yes = targets[0]["aspects"][box, question]
                            if not p_yes.isnan():
                                terms.append(functional.binary_cross_entropy_with_logits(one[question, y, x], p_yes))
    assert row == len(index)
    torch.testing.assert_close(losses["box_aspects"], torch.stack(terms).mean())


def test_image_aspects_by_hand() -> None:
    detector = detector_of("faster-rcnn")
    images, targets = two_boxes()
    kept: list[Any] = []
    hook = detector.network.backbone.body.register_forward_hook(lambda _, __, output: kept.append(output[-1]))
    losses = detector(images, targets)
    hook.remove()
    assert detector.image_aspects is not None
    q = detector.image_aspects(kept[0].mean(dim=(2, 3))).sigmoid().squeeze()
    torch.testing.assert_close(losses["image_aspects"], -(0.6 * q.log() + 0.4 * (1 - q).log()))


def test_a_step_adds_the_weighted_aspects() -> None:
    asked = config(method="both", alpha=3.0, image_alpha=0.5)
    given = {"loss_a": torch.tensor(1.0), "loss_b": torch.tensor(2.0)}
    aspects = {"box_aspects": torch.tensor(0.25), "image_aspects": torch.tensor(4.0)}
    found = step_losses(asked, given | aspects)
    assert {name: value.item() for name, value in found.items()} == {
        "loss": 5.75, "detection": 3.0, "box_aspects": 0.25, "image_aspects": 4.0,
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_without_aspects_a_step_is_torchvisions_own_bit_for_bit(kind: str) -> None:
    images, targets = two_boxes()
    asked = config(detector=kind, method="base")
    ours = build_detector(asked, classes=3, box_aspects=0, image_aspects=0)
    plain = copy.deepcopy(ours.network)
    optimizers = [torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9) for module in (ours, plain)]
    shift = int(kind == "faster-rcnn")
    for step in range(2):
        torch.manual_seed(step)
        step_losses(asked, ours(images, targets))["loss"].backward()
        torch.manual_seed(step)
        sum(plain(images, [{"boxes": t["boxes"], "labels": t["labels"] + shift} for t in targets]).values()).backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, ours.network.state_dict()[name]), name


@pytest.mark.parametrize("kind", KINDS)
def test_those_of_one_seed_start_from_the_same_network(kind: str) -> None:
    with_aspects = detector_of(kind)
    base = build_detector(config(detector=kind), classes=3, box_aspects=0, image_aspects=0)
    for name, tensor in base.network.state_dict().items():
        assert torch.equal(tensor, with_aspects.network.state_dict()[name]), name


@pytest.mark.parametrize("kind", KINDS)
def test_images_without_boxes_teach_the_background(kind: str) -> None:
    detector = detector_of(kind)
    images, targets = two_boxes()
    nothing = {
        "boxes": torch.zeros(0, 4),
        "labels": torch.zeros(0, dtype=torch.int64),
        "aspects": torch.zeros(0, 2),
        "image_aspects": torch.tensor([float("nan")]),
    }
    losses = detector([*images, images[0][:, :40]], [*targets, nothing])
    assert all(loss.isfinite() for loss in losses.values())
    alone = detector(images, [nothing])
    assert alone["box_aspects"].item() == 0
    assert alone["image_aspects"].item() == 0
    sum(alone.values()).backward()


@pytest.mark.parametrize("kind", KINDS)
def test_found_boxes_come_with_their_aspects_on_request(kind: str) -> None:
    detector = detector_of(kind, score_threshold=0.0, detections=7).eval()
    images, _ = two_boxes()
    (found,) = detector(images)
    assert sorted(found) == ["boxes", "labels", "scores"]
    assert len(found["boxes"]) == 7
    assert set(found["labels"].tolist()) <= {0, 1, 2}
    (explained,) = detector.explain(images)
    assert torch.equal(explained["boxes"], found["boxes"])
    assert explained["aspects"].shape == (7, 2)
    assert ((explained["aspects"] >= 0) & (explained["aspects"] <= 1)).all()
    assert detector.describe_images(images).shape == (1, 1)
    (dropped,) = without_aspects(detector).eval()(images)
    assert torch.equal(dropped["scores"], found["scores"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_box_is_described_where_it_was_learnt(kind: str) -> None:
    """Trained on one image, the aspects of its two boxes come out as they were taught."""
    detector = detector_of(kind, hidden=128)
    images, targets = two_boxes()
    images[0][0, 4:24, 4:24] = images[0][1, 30:58, 30:62] = 2.0  # one red, one green
    targets[0]["aspects"] = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    optimizer = torch.optim.AdamW(detector.parameters(), lr=3e-3)
    for _ in range(80):
        losses = detector(images, targets)
        sum(losses.values()).backward()
        optimizer.step()
        optimizer.zero_grad()
    (described,) = detector.eval().describe(images, [targets[0]["boxes"]])
    assert described.round().tolist() == targets[0]["aspects"].tolist()


def test_backbones_that_give_no_pyramid_are_named() -> None:
    with pytest.raises(ConfigInvalid, match=r"backbone 'test_vit' gives no maps of 64 px.* stride is 16"):
        build_detector(config(backbone="test_vit", finest_stride=32), classes=2, box_aspects=0, image_aspects=0)
    with pytest.raises(ConfigInvalid, match="timm has no backbone 'resnt18'; did you mean"):
        config(backbone="resnt18")
