"""Batch normalisation over the images of all devices, for parts too small for statistics of their own, or by the
statistics that it has."""

from __future__ import annotations

from typing import Any, cast

import torch
from timm.layers.norm_act import BatchNormAct2d, convert_sync_batchnorm
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm


def synchronize_batch_norm(network: nn.Module, device: torch.device) -> None:
    """Let the layers of batch normalisation in `network` compute mean and variance over all devices; parameters,
    buffers and their names stay. Called by every device before the network is wrapped for DDP."""
    if device.type != "cpu":
        convert_sync_batchnorm(network)
        return
    for module in network.modules():  # torch's own layer is for GPUs alone, and DDP rejects its subclasses too
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            module.__class__ = CpuSyncBatchNormAct if isinstance(module, BatchNormAct2d) else CpuSyncBatchNorm


def freeze_batch_norm(network: nn.Module) -> None:
    """Let the layers of batch normalisation in `network` use their running mean and variance and not change them, until
    the next `network.train()`; weight and bias are trained."""
    for module in network.modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            module.eval()


class CpuSyncBatchNorm(_BatchNorm):
    """Batch normalisation over the images of all devices, of any number of dimensions."""

    def forward(self, input: Tensor) -> Tensor:
        return _normalize(self, input)


class CpuSyncBatchNormAct(BatchNormAct2d):
    """The same with timm's activation behind it."""

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.act(self.drop(_normalize(self, x))))


def _normalize(layer: _BatchNorm, input: Tensor) -> Tensor:
    mean, variance = layer.running_mean, layer.running_var
    assert mean is not None
    assert variance is not None
    if layer.training:
        others = [axis for axis in range(input.dim()) if axis != 1]
        places = [-1 if axis == 1 else 1 for axis in range(input.dim())]
        # bfloat16 counts to 256 and no further.
        values = input.to(torch.promote_types(input.dtype, torch.float32))
        count = _sum_over_devices(values.new_tensor(float(values.numel() // values.shape[1])))
        mean = _sum_over_devices(values.sum(others)) / count
        variance = _sum_over_devices((values - mean.view(places)).square().sum(others)) / count
        _track(layer, mean.detach(), variance.detach() * count / (count - 1))
        output = (values - mean.view(places)) * (variance + layer.eps).rsqrt().view(places)
        if layer.affine:
            output = output * layer.weight.view(places) + layer.bias.view(places)
        return output.to(input.dtype)
    return functional.batch_norm(input, mean, variance, layer.weight, layer.bias, eps=layer.eps)


def _track(layer: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    assert layer.running_mean is not None
    assert layer.running_var is not None
    assert layer.num_batches_tracked is not None
    layer.num_batches_tracked.add_(1)
    share = 1 / float(layer.num_batches_tracked) if layer.momentum is None else layer.momentum
    layer.running_mean.lerp_(mean, share)
    layer.running_var.lerp_(variance, share)


class _SumOverDevices(torch.autograd.Function):
    """The sum of a tensor over all devices, which every device's loss depends on."""

    @staticmethod
    def forward(context: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        distributed.all_reduce(total)
        return total


def _sum_over_devices(tensor: Tensor) -> Tensor:
    return cast(Tensor, _SumOverDevices.apply(tensor))  # type: ignore[no-untyped-call]
