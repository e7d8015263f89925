"""Aspects are learned beside torchvision's own detectors, which they leave as they are."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from student.detection.model import build_detector, step_losses, without_aspects
from tests.student.detection.small_detectors import KINDS, config, detector_of, two_boxes


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
