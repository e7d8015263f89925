"""torchvision's detectors on timm's backbones."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, LastLevelMaxPool, LastLevelP6P7

from student.core.backbones import IMAGENET_MEAN, IMAGENET_STD, network_errors, require_weights
from student.detection.config import DetectorConfig

RATIOS = (0.5, 1.0, 2.0)  # of an anchor's height to its width
POOLED = 7  # places across that faster-rcnn's box head sees of a box
COARSE = 256  # pixels from which on retinanet and fcos get torchvision's two coarsest levels too


class Body(NamedTuple):
    """timm's network with the stride and the width of each of its maps, and the settings of its pretraining."""

    network: nn.Module
    strides: list[int]
    widths: list[int]
    pretrained_cfg: Mapping[str, Any]


class PyramidBackbone(nn.Module):
    """A timm network with a feature pyramid (arXiv 1612.03144) on its maps, as torchvision's detectors want it."""

    def __init__(self, body: Body, config: DetectorConfig) -> None:
        super().__init__()
        extra, factors = _coarser_levels(config)
        self.body = body.network
        self.fpn = FeaturePyramidNetwork(body.widths, config.channels, extra_blocks=extra)
        self.out_channels = config.channels
        self.width = body.widths[-1]
        self.pooled_levels = [str(level) for level in range(len(body.strides))]
        self.strides = [*body.strides, *(factor * body.strides[-1] for factor in factors)]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = self.body(images)
        pyramid: dict[str, Tensor] = self.fpn(OrderedDict((str(level), one) for level, one in enumerate(maps)))
        return pyramid


def build_network(config: DetectorConfig, *, classes: int) -> nn.Module:
    """The config's detector, initialised from its seed; leaves torch's generator alone.

    Raises ConfigInvalid where timm gives no pyramid of this backbone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        body = _body(config)
        build = {"faster-rcnn": _faster_rcnn, "fcos": _fcos, "retinanet": _retinanet}[config.detector]
        return build(
            PyramidBackbone(body, config),
            config,
            classes,
            # Both the same: the longer side becomes `image_size`, whatever the shorter one is.
            min_size=config.image_size,
            max_size=config.image_size,
            image_mean=list(body.pretrained_cfg.get("mean") or IMAGENET_MEAN),
            image_std=list(body.pretrained_cfg.get("std") or IMAGENET_STD),
        )


def _body(config: DetectorConfig) -> Body:
    """The backbone from `finest_stride` on. Raises ConfigInvalid."""
    if config.pretrained:
        require_weights(config.backbone)
    refused = network_errors(
        f"backbone '{config.backbone}' gives no maps of {config.image_size} px for a detector "
        f"(pretrained={config.pretrained}): "
    )
    with refused:
        whole: Any = timm.create_model(config.backbone, features_only=True)
        reductions = whole.feature_info.reduction()
        levels = [level for level, stride in enumerate(reductions) if stride >= config.finest_stride]
        if not levels:
            raise ValueError(f"its coarsest stride is {max(reductions)}, finest_stride {config.finest_stride}")
        kept: dict[str, Any] = {"features_only": True, "out_indices": levels}
        network: Any = timm.create_model(config.backbone, pretrained=config.pretrained, **kept)
        widths = network.feature_info.channels()
        maps = network.eval()(torch.zeros(1, 3, config.image_size, config.image_size))
        if any(one.dim() != 4 or one.shape[1] != width for one, width in zip(maps, widths, strict=True)):
            raise ValueError("its maps are not laid out as those of a convolution")
    strides = [reductions[level] for level in levels]
    return Body(network.train(), strides, widths, getattr(network, "pretrained_cfg", {}))


def _coarser_levels(config: DetectorConfig) -> tuple[ExtraFPNBlock | None, tuple[int, ...]]:
    """What torchvision puts on top of the backbone's coarsest level, and how many times its stride they have."""
    if config.detector == "faster-rcnn":
        return LastLevelMaxPool(), (2,)
    if config.image_size <= COARSE:
        return None, ()
    return LastLevelP6P7(config.channels, config.channels), (2, 4)


def _faster_rcnn(backbone: PyramidBackbone, config: DetectorConfig, classes: int, **transform: Any) -> nn.Module:
    scale = config.anchor_scale or 8.0
    sizes = tuple((scale * stride,) for stride in backbone.strides)
    network: nn.Module = FasterRCNN(
        backbone,
        rpn_anchor_generator=AnchorGenerator(sizes, (RATIOS,) * len(sizes)),
        rpn_pre_nms_top_n_train=2 * config.proposals,
        rpn_pre_nms_top_n_test=config.proposals,
        rpn_post_nms_top_n_train=2 * config.proposals,
        rpn_post_nms_top_n_test=config.proposals,
        box_roi_pool=MultiScaleRoIAlign(backbone.pooled_levels, POOLED, sampling_ratio=2),
        box_head=TwoMLPHead(config.channels * POOLED**2, config.hidden),
        # Its class 0 is the background.
        box_predictor=FastRCNNPredictor(config.hidden, classes + 1),
        box_batch_size_per_image=config.sampled_proposals,
        box_score_thresh=config.score_threshold,
        box_nms_thresh=config.nms_threshold,
        box_detections_per_img=config.detections,
        **transform,
    )
    return network


def _retinanet(backbone: PyramidBackbone, config: DetectorConfig, classes: int, **transform: Any) -> nn.Module:
    scale = config.anchor_scale or 4.0
    sizes = tuple(tuple(scale * stride * 2 ** (third / 3) for third in range(3)) for stride in backbone.strides)
    network: nn.Module = RetinaNet(
        backbone,
        classes,
        anchor_generator=AnchorGenerator(sizes, (RATIOS,) * len(sizes)),
        score_thresh=config.score_threshold,
        nms_thresh=config.nms_threshold,
        detections_per_img=config.detections,
        **transform,
    )
    return network


def _fcos(backbone: PyramidBackbone, config: DetectorConfig, classes: int, **transform: Any) -> nn.Module:
    # A place's own size stands for it: what it may be responsible for follows from that.
    sizes = tuple((stride,) for stride in backbone.strides)
    network: nn.Module = FCOS(
        backbone,
        classes,
        anchor_generator=AnchorGenerator(sizes, ((1.0,),) * len(sizes)),
        score_thresh=config.score_threshold,
        nms_thresh=config.nms_threshold,
        detections_per_img=config.detections,
        **transform,
    )
    return network
