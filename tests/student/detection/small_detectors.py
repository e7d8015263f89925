"""Small detectors, and an image with two boxes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet

from student.detection.config import DetectorConfig, detection_recipe
from student.detection.model import Detector, build_detector

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
