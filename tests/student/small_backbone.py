"""A backbone with few weights, so that the run folders of tests are small. timm knows it once this is imported."""

from __future__ import annotations

from typing import Any

from timm.models import build_model_with_cfg, register_model
from timm.models.resnet import BasicBlock, ResNet
from torch import nn

SMALL_BACKBONE = "few_weights_resnet"
# timm wants it.
default_cfgs = {SMALL_BACKBONE: {"first_conv": "conv1.0", "classifier": "fc", "input_size": (3, 32, 32)}}


@register_model
def few_weights_resnet(pretrained: bool = False, **options: Any) -> nn.Module:
    """A ResNet with a block of 8 channels in each stage: 8,000 weights, 40 KB. Fewer channels crash oneDNN."""
    shape: dict[str, Any] = {"block": BasicBlock, "layers": (1, 1, 1, 1), "channels": (8, 8, 8, 8)}
    stem: dict[str, Any] = {"stem_type": "deep", "stem_width": 8}
    network: nn.Module = build_model_with_cfg(ResNet, SMALL_BACKBONE, pretrained, **shape, **stem, **options)
    return network
