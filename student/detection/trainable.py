"""Check with random pixels that a detector can be trained, before anything is asked or trained."""

from __future__ import annotations

import functools

import torch

from student.core.backbones import network_errors, require_weights
from student.detection.config import DetectorConfig
from student.detection.model import build_detector, step_losses

CLASSES, ASPECTS = 2, 2


def require_trainable_detector(config: DetectorConfig) -> None:
    """One step of training of the config's detector. Raises ConfigInvalid, of one line, where it does not work or where
    its pretrained weights cannot be had."""
    if config.pretrained:
        require_weights(config.backbone)
    tried = DetectorConfig(
        detector=config.detector,
        backbone=config.backbone,
        image_size=config.image_size,
        batch_size=min(config.batch_size // config.devices, 2) or 1,
        finest_stride=config.finest_stride,
        channels=config.channels,
        hidden=config.hidden,
        anchor_scale=config.anchor_scale,
        method=config.method,
        epochs=1,
        warmup=0,
    )
    _try_out(tried)


@functools.cache
def _try_out(config: DetectorConfig) -> None:
    asked = {"box_aspects": ASPECTS * (config.box_alpha > 0), "image_aspects": ASPECTS * (config.whole_alpha > 0)}
    refused = network_errors(
        f"{config.detector} on backbone '{config.backbone}' cannot be trained at {config.image_size} px with "
        f"batches of {config.batch_size} (",
        "); take another backbone, image_size or batch_size",
    )
    with refused, torch.random.fork_rng(devices=[]):
        detector = build_detector(config, classes=CLASSES, **asked)
        torch.manual_seed(0)
        images = list(torch.rand(config.batch_size, 3, config.image_size, config.image_size))
        side = config.image_size / 2
        target = {
            "boxes": torch.tensor([[0.0, 0.0, side, side]]),
            "labels": torch.tensor([0]),
            "aspects": torch.full((1, asked["box_aspects"]), 0.5),
            "image_aspects": torch.full((asked["image_aspects"],), 0.5),
        }
        step_losses(config, dict(detector(images, [target] * len(images))))["loss"].backward()
