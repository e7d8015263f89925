"""Convolutions of small maps as matrix products, which CPUs compute several times faster, and a way around a defect.

oneDNN computes a 3x3 convolution of 512 channels on a map of 2x2 at a tenth of the speed that it reaches on larger
maps, and a ResNet18 that is shown 64 px spends half of its training there. The same sum written as one product of
matrices (im2col) runs at full speed. `bench/train.py` measures what it brings.

oneDNN 3.12 (torch 2.13) also writes past its memory, or gives wrong gradients, where it computes the gradient of the
weights of a 1x1 convolution with a stride and few input channels, channels last: github.com/uxlfoundation/oneDNN, issue
6035. Without a stride it does not.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

# Positions of the output up to which the product was faster, measured with ResNet's channels.
SMALL_MAP = {torch.bfloat16: 7 * 7, torch.float32: 4 * 4}

# Input channels that oneDNN takes at a time: 8 with AVX2, 16 with AVX-512. With fewer its defect shows.
CHANNEL_BLOCK = 16


def take_strides_first(module: nn.Module) -> None:
    """Give each 1x1 convolution of few channels only the positions that its stride takes: the same sums without one."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d) and _is_small_strided_point(layer):
            layer.register_forward_pre_hook(partial(_strided, stride=(layer.stride[0], layer.stride[1])))
            layer.stride = (1, 1)


def _is_small_strided_point(layer: nn.Conv2d) -> bool:
    unpadded = layer.padding in ((0, 0), "valid")
    few = layer.in_channels // layer.groups < CHANNEL_BLOCK
    return unpadded and few and {*layer.kernel_size} == {1} and {*layer.stride} != {1}


def _strided(layer: nn.Module, inputs: tuple[Tensor, ...], *, stride: tuple[int, int]) -> tuple[Tensor, ...]:
    images, *others = inputs
    return images[..., :: stride[0], :: stride[1]], *others


def use_matrix_products(module: nn.Module) -> None:
    """Let each plain convolution in `module` choose by the map that it is given. Weights and their names stay."""
    for child in module.modules():
        if type(child) is nn.Conv2d and _has_plain_shape(child):
            child.__class__ = SmallMapConv2d


def _has_plain_shape(layer: nn.Conv2d) -> bool:
    square = len({*layer.kernel_size}) == len({*layer.stride}) == 1
    padded = layer.padding_mode == "zeros" and not isinstance(layer.padding, str) and len({*layer.padding}) == 1
    return square and padded and layer.groups == 1 and layer.dilation == (1, 1)


class SmallMapConv2d(nn.Conv2d):
    """A convolution that is computed as a matrix product where its map is small and it runs on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        if input.is_cpu and not torch.compiler.is_compiling():
            dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else input.dtype
            stride, padding = int(self.stride[0]), int(self.padding[0])
            sides = [(side + 2 * padding - self.kernel_size[0]) // stride + 1 for side in input.shape[-2:]]
            if sides[0] * sides[1] <= SMALL_MAP.get(dtype, 0):
                apply: Any = MatrixProductConvolution.apply  # torch has no type for it
                output = apply(input.to(dtype), self.weight.to(dtype), stride, padding)
                assert isinstance(output, Tensor)
                return output if self.bias is None else output + self.bias.to(dtype)[:, None, None]
        return super().forward(input)


class MatrixProductConvolution(torch.autograd.Function):
    """conv2d(images [N, I, H, W], weight [O, I, K, K], stride, padding) -> [N, O, h, w], channels last in memory."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        size = weight.shape[-1]
        padded = functional.pad(images.permute(0, 2, 3, 1), (0, 0, padding, padding, padding, padding))
        patches = padded.unfold(1, size, stride).unfold(2, size, stride).permute(0, 1, 2, 4, 5, 3)  # N h w K K I
        number, height, width = patches.shape[:3]
        rows = patches.reshape(number * height * width, -1)
        columns = weight.permute(0, 2, 3, 1).reshape(len(weight), -1)
        ctx.save_for_backward(rows, columns)
        ctx.patches_shape, ctx.padded_shape, ctx.stride, ctx.padding = patches.shape, padded.shape, stride, padding
        output = torch.empty((number, len(weight), height, width), dtype=rows.dtype, memory_format=torch.channels_last)
        # Written into, not returned as a view: some backbones change what a convolution puts out in place.
        torch.mm(rows, columns.T, out=output.permute(0, 2, 3, 1).view(len(rows), -1))
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        rows, columns = ctx.saved_tensors
        _, height, width, size, _, channels = ctx.patches_shape
        stride, padding = ctx.stride, ctx.padding
        of_rows = gradient.permute(0, 2, 3, 1).reshape(len(rows), -1)
        of_weight, of_images = None, None
        if ctx.needs_input_grad[1]:
            of_weight = (of_rows.T @ rows).view(-1, size, size, channels).permute(0, 3, 1, 2)
        if ctx.needs_input_grad[0]:
            of_patches = (of_rows @ columns).view(ctx.patches_shape)
            padded = of_patches.new_zeros(ctx.padded_shape)
            for y in range(size):
                for x in range(size):
                    rows_of_y = slice(y, y + stride * height, stride)
                    padded[:, rows_of_y, x : x + stride * width : stride] += of_patches[:, :, :, y, x]
            inner = [slice(padding, side - padding) for side in ctx.padded_shape[1:3]]
            of_images = padded[:, inner[0], inner[1]].permute(0, 3, 1, 2)
        return of_images, of_weight, None, None
