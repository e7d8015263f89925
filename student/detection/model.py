"""A torchvision detector with additional outputs for the aspects of boxes and of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from student.core.losses import bce_loss
from student.core.stages import inputs_of, outputs_of
from student.detection.aspects import PlaceAspects, ProposalAspects
from student.detection.config import DetectorConfig
from student.detection.networks import build_network

# What a step is logged as: the sum that is backpropagated, torchvision's own losses, the aspects before their weight.
LOSSES = ("loss", "detection", "box_aspects", "image_aspects")


class Detector(nn.Module):
    """`network` is torchvision's, and is complete without the other parts once it is trained.

    `box_aspects` and `image_aspects` are the outputs that learn from answers; None where there are none. Labels count
    from 0, without a background. Images are float [3, H, W] in 0..1, of any size; boxes are [N, 4] in their pixels.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        background: bool,
        box_aspects: ProposalAspects | PlaceAspects | None = None,
        image_aspects: nn.Linear | None = None,
    ) -> None:
        super().__init__()
        self.network: Any = network
        self.background = background
        self.box_aspects = box_aspects
        self.image_aspects = image_aspects

    def forward(
        self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """In training the losses, for `targets` of each image: `boxes`, `labels` [N], `aspects` [N, Q] (p(yes), NaN
        where unknown) and `image_aspects` [Q]. Else what was found: `boxes`, `labels` and `scores` [N], best first."""
        shift = int(self.background)
        if not self.training:
            found = self.network(list(images))
            return [{**one, "labels": one["labels"] - shift} for one in found]
        assert targets is not None
        wanted = [{"boxes": target["boxes"], "labels": target["labels"] + shift} for target in targets]
        classifiers = [] if self.box_aspects is None else [self.box_aspects.classifier(self.network)]
        with inputs_of(classifiers) as features, outputs_of([self.network.backbone.body]) as bodies:
            losses = dict(self.network(list(images), wanted))
        if self.box_aspects is not None:
            losses["box_aspects"] = self.box_aspects.loss(self.network, features, targets)
        if self.image_aspects is not None:
            answers_BQ = torch.stack([target["image_aspects"] for target in targets])
            losses["image_aspects"] = bce_loss(self._of_image(bodies), answers_BQ)
        return losses

    @torch.no_grad()
    def describe(self, images: Sequence[Tensor], boxes: Sequence[Tensor]) -> list[Tensor]:
        """p(yes) [N, Q] of the aspects of given boxes of each image."""
        assert self.box_aspects is not None, "this detector has no aspects of boxes"
        return [logits.sigmoid() for logits in self.box_aspects.describe(self.network, images, boxes)]

    @torch.no_grad()
    def describe_images(self, images: Sequence[Tensor]) -> Tensor:
        """p(yes) [B, Q] of the aspects of whole images."""
        shown, _ = self.network.transform(list(images), None)
        return self._of_image([self.network.backbone.body(shown.tensors)]).sigmoid()

    @torch.no_grad()
    def explain(self, images: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        """What is found, with p(yes) of every box's aspects as `aspects` [N, Q], where the detector has any."""
        found = self(images)
        if self.box_aspects is None:
            return list(found)
        aspects = self.describe(images, [one["boxes"] for one in found])
        return [{**one, "aspects": its} for one, its in zip(found, aspects, strict=True)]

    def _of_image(self, bodies: Sequence[Any]) -> Tensor:
        """Logits [B, Q] from the mean over the places of the coarsest map of the backbone's outputs."""
        assert self.image_aspects is not None
        logits: Tensor = self.image_aspects(bodies[-1][-1].mean(dim=(2, 3))).float()
        return logits


def build_detector(config: DetectorConfig, *, classes: int, box_aspects: int, image_aspects: int) -> Detector:
    """A new detector, the same for the same seed. Those of one seed with different aspects start from the same
    network."""
    network: Any = build_network(config, classes=classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        boxes: ProposalAspects | PlaceAspects | None = None
        if box_aspects:
            kind = ProposalAspects if config.detector == "faster-rcnn" else PlaceAspects
            boxes = kind(network, box_aspects)
        whole = nn.Linear(network.backbone.width, image_aspects) if image_aspects else None
    return Detector(
        network, background=config.detector == "faster-rcnn", box_aspects=boxes, image_aspects=whole
    ).train()


def without_aspects(detector: Detector) -> Detector:
    """The same detector with its boxes and classes alone."""
    return Detector(detector.network, background=detector.background)


def step_losses(config: DetectorConfig, losses: dict[str, Tensor]) -> dict[str, Tensor]:
    """LOSSES of a step from what the detector returned: torchvision's own summed up, aspects added by their weights."""
    own = {name: loss for name, loss in losses.items() if name not in LOSSES}
    detection: Tensor = sum(own.values(), start=torch.zeros((), device=next(iter(own.values())).device))
    boxes, images = (losses.get(name, torch.zeros_like(detection)) for name in LOSSES[2:])
    total = detection
    if "box_aspects" in losses:
        total = total + config.box_alpha * boxes
    if "image_aspects" in losses:
        total = total + config.whole_alpha * images
    return dict(zip(LOSSES, (total, detection, boxes, images), strict=True))
