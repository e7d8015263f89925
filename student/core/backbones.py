"""What classifiers and detectors need of a backbone: its weights, its layout in memory, its pixels."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import timm
import torch
from huggingface_hub import try_to_load_from_cache
from torch import nn

from storage.hub import HubUnreachable, find_on_hub
from student.core.convolution import take_strides_first, use_matrix_products
from student.core.pretrained import WEIGHT_FILES
from student.core.setting_errors import ConfigInvalid

Network = TypeVar("Network", bound=nn.Module)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def to_channels_last(student: Network) -> Network:
    """The module with its convolutions in the layout that is fastest on CPUs with matrix units and on tensor cores."""
    take_strides_first(student)
    use_matrix_products(student)
    moved: Network = student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved


@contextmanager
def network_errors(before: str, after: str = "") -> Iterator[None]:
    """Raise any error of building or trying a network as ConfigInvalid: `before`, the error, `after`."""
    try:
        yield
    except ConfigInvalid:
        raise
    except Exception as error:  # backbones raise errors of every type, those of downloads included
        why = " ".join(str(error).split())[:200]
        raise ConfigInvalid(f"{before}{type(error).__name__}: {why}{after}") from error


@functools.cache
def require_weights(backbone: str, instead: str = "--set pretrained=false") -> None:
    """Raises ConfigInvalid soon where timm would download weights of the backbone from a Hub that is out of reach;
    `instead` is what to give then."""
    known = timm.get_pretrained_cfg(backbone)
    if known is None or known.hf_hub_id is None:
        return
    name = str(known.hf_hub_id)
    if any(isinstance(try_to_load_from_cache(name, file), str) for file in WEIGHT_FILES):
        return
    try:
        find_on_hub(name, "model")
    except HubUnreachable as error:
        raise ConfigInvalid(
            f"cannot get the weights of backbone '{backbone}' from the Hugging Face Hub ({error}); check the network, "
            f"or give {instead}"
        ) from error
