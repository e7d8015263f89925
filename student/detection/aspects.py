"""Outputs for the aspects of boxes: linear layers beside a detector's classifier, on the same features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.roi_heads import RoIHeads

from student.core.losses import bce_loss

# Widths of a box in strides that fcos has a level for: 8 to 16, so about so many.
FCOS_REACH = 11.0


class MatchingRoIHeads(RoIHeads):  # type: ignore[misc]  # torchvision has no types
    """Remembers which proposals were sampled last for which boxes: (index of the box, label, 0 for background) [P] of
    each image."""

    matched: tuple[Sequence[Tensor], Sequence[Tensor]]

    def select_training_samples(self, proposals: Any, targets: Any) -> Any:
        chosen = super().select_training_samples(proposals, targets)
        self.matched = chosen[1], chosen[2]
        return chosen


class Matching:
    """Remembers which anchors were matched last with which boxes: index of the box, negative for none, [A] of each
    image."""

    matched: Sequence[Tensor]

    def compute_loss(self, targets: Any, head_outputs: Any, anchors: Any, matched_idxs: Any) -> Any:
        self.matched = matched_idxs
        return super().compute_loss(targets, head_outputs, anchors, matched_idxs)  # type: ignore[misc]


class MatchingFCOSHead(Matching, FCOSHead):  # type: ignore[misc]
    pass


class MatchingRetinaNetHead(Matching, RetinaNetHead):  # type: ignore[misc]
    pass


class ProposalAspects(nn.Module):
    """Q outputs on what faster-rcnn's box head makes of a proposal."""

    def __init__(self, network: Any, questions: int) -> None:
        super().__init__()
        network.roi_heads.__class__ = MatchingRoIHeads
        self.outputs = nn.Linear(network.roi_heads.box_predictor.cls_score.in_features, questions)

    def classifier(self, network: Any) -> nn.Module:
        """The module that is given the same features."""
        module: nn.Module = network.roi_heads.box_predictor
        return module

    def loss(self, network: Any, features: Sequence[Tensor], targets: Sequence[dict[str, Tensor]]) -> Tensor:
        """Binary cross-entropy of sampled proposals that were matched with a box, against its answers: `aspects` [N, Q]
        of `targets`; mean over the answers."""
        indices, labels = network.roi_heads.matched
        answers, rows = [], []
        for target, index, label in zip(targets, indices, labels, strict=True):
            rows.append(label > 0)
            answers.append(target["aspects"][index[label > 0]])
        return bce_loss(self.outputs(features[-1][torch.cat(rows)]).float(), torch.cat(answers))

    def describe(self, network: Any, images: Sequence[Tensor], boxes: Sequence[Tensor]) -> list[Tensor]:
        """Logits [N, Q] for given boxes [N, 4] of each image, in its pixels."""
        shown, targets = network.transform(list(images), [{"boxes": corners} for corners in boxes])
        maps, places = network.backbone(shown.tensors), [target["boxes"] for target in targets]
        pooled = network.roi_heads.box_roi_pool(maps, places, shown.image_sizes)
        logits: Tensor = self.outputs(network.roi_heads.box_head(pooled)).float()
        return list(logits.split([len(corners) for corners in boxes]))


class PlaceAspects(nn.Module):
    """Q outputs at every place of the maps that fcos and retinanet classify."""

    def __init__(self, network: Any, questions: int) -> None:
        super().__init__()
        fcos = isinstance(network.head, FCOSHead)
        network.head.__class__ = MatchingFCOSHead if fcos else MatchingRetinaNetHead
        self.outputs = nn.Conv2d(network.backbone.out_channels, questions, 3, padding=1)
        nn.init.normal_(self.outputs.weight, std=0.01)
        assert self.outputs.bias is not None
        nn.init.zeros_(self.outputs.bias)
        anchors = network.anchor_generator.sizes
        self.strides = network.backbone.strides
        self.anchors = network.anchor_generator.num_anchors_per_location()[0]
        # Of the boxes that a level finds; a box is described where one of its size and place is found.
        self.widths = [FCOS_REACH * sizes[0] if fcos else sizes[1] for sizes in anchors]

    def classifier(self, network: Any) -> nn.Module:
        module: nn.Module = network.head.classification_head.cls_logits
        return module

    def loss(self, network: Any, features: Sequence[Tensor], targets: Sequence[dict[str, Tensor]]) -> Tensor:
        """As `ProposalAspects.loss`, of the places whose anchors were matched; `features` is a map for each level."""
        logits = torch.cat([self.outputs(one).flatten(2).transpose(1, 2) for one in features], dim=1)  # B places Q
        outputs, answers = [], []
        for image, (target, index) in enumerate(zip(targets, network.head.matched, strict=True)):
            found = torch.nonzero(index >= 0).flatten()
            outputs.append(logits[image, found // self.anchors])
            answers.append(target["aspects"][index[found]])
        return bce_loss(torch.cat(outputs).float(), torch.cat(answers))

    def describe(self, network: Any, images: Sequence[Tensor], boxes: Sequence[Tensor]) -> list[Tensor]:
        """Logits [N, Q] for given boxes [N, 4] of each image, in its pixels."""
        shown, targets = network.transform(list(images), [{"boxes": corners} for corners in boxes])
        tower = network.head.classification_head.conv
        maps = [self.outputs(tower(one)).float() for one in network.backbone(shown.tensors).values()]
        return [
            torch.stack([self._at(maps, image, corners) for corners in target["boxes"].tolist()])
            if len(target["boxes"])
            else maps[0].new_zeros(0, maps[0].shape[1])
            for image, target in enumerate(targets)
        ]

    def _at(self, maps: Sequence[Tensor], image: int, corners: Sequence[float]) -> Tensor:
        left, top, right, bottom = corners
        side = max(right - left, bottom - top, 1.0)
        level = min(range(len(maps)), key=lambda number: abs(math.log(side / self.widths[number])))
        height, width = maps[level].shape[-2:]
        x, y = ((low + high) / 2 / self.strides[level] for low, high in ((left, right), (top, bottom)))
        return maps[level][image, :, min(int(y), height - 1), min(int(x), width - 1)]
