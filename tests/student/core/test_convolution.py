"""Matrix products in place of small convolutions: the same sums, from the same weights."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from student.core.backbones import to_channels_last
from student.core.convolution import MatrixProductConvolution, SmallMapConv2d, take_strides_first, use_matrix_products


def outputs_and_gradients(layer: nn.Module, images: Tensor) -> list[Tensor]:
    images = images.clone().requires_grad_()
    output = layer(images)
    weights = torch.linspace(-1, 1, output.numel()).view_as(output)
    return [output, *torch.autograd.grad((output.float() * weights).sum(), [images, *layer.parameters()])]


@pytest.mark.parametrize(
    ("side", "kernel", "stride", "padding", "bias"),
    [(2, 3, 1, 1, False), (4, 3, 2, 1, False), (4, 1, 2, 0, True), (5, 3, 2, 1, True), (4, 5, 1, 2, False)],
)
def test_outputs_and_gradients_are_those_of_the_plain_convolution(
    side: int, kernel: int, stride: int, padding: int, bias: bool
) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(6, 8, kernel, stride, padding, bias=bias)
    ours = copy.deepcopy(plain)
    use_matrix_products(ours)
    assert isinstance(ours, SmallMapConv2d)
    images = torch.randn(3, 6, side, side + 1)
    for mine, theirs in zip(outputs_and_gradients(ours, images), outputs_and_gradients(plain, images), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_gradients_are_those_of_finite_differences() -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 2, 4, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    convolve: Any = MatrixProductConvolution.apply
    assert torch.autograd.gradcheck(lambda *inputs: convolve(*inputs, 2, 1), (images, weight))


def test_autocast_rounds_as_the_plain_convolution_does() -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(32, 16, 3, padding=1, bias=False)
    ours = copy.deepcopy(plain)
    use_matrix_products(ours)
    images = torch.randn(4, 32, 7, 7)
    with torch.autocast("cpu", torch.bfloat16):
        mine, theirs = outputs_and_gradients(ours, images), outputs_and_gradients(plain, images)
    assert mine[0].dtype == theirs[0].dtype == torch.bfloat16
    for ours_, theirs_ in zip(mine, theirs, strict=True):
        assert ours_.dtype == theirs_.dtype
        assert (ours_ - theirs_).abs().max() <= 0.02 * theirs_.abs().max()


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenetv2_050", "efficientnet_b0"])
def test_networks_keep_their_weights_and_their_answers(backbone: str) -> None:
    torch.manual_seed(0)
    network = timm.create_model(backbone, num_classes=5).eval()
    other = copy.deepcopy(network)
    use_matrix_products(other)
    assert list(other.state_dict()) == list(network.state_dict())
    assert any(isinstance(module, SmallMapConv2d) for module in other.modules())
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(other(images), network(images), rtol=1e-4, atol=1e-5)


def test_large_maps_groups_and_odd_layers_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a matrix product was asked for")

    monkeypatch.setattr(MatrixProductConvolution, "apply", refuse)
    large = nn.Conv2d(3, 4, 3)
    layers = [nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 4, 3, dilation=2), nn.Conv2d(4, 4, 3, padding="same")]
    use_matrix_products(nn.ModuleList([large, *layers]))
    large(torch.randn(1, 3, 32, 32))
    assert [type(layer) for layer in layers] == [nn.Conv2d] * 3


def test_outputs_may_be_changed_in_place() -> None:
    layer = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.ReLU(inplace=True))
    use_matrix_products(layer)
    images = torch.randn(2, 3, 2, 2, requires_grad=True)
    output = layer(images)
    assert output.is_contiguous(memory_format=torch.channels_last)
    output.sum().backward()
    assert images.grad is not None


class ScaledConv2d(nn.Conv2d):
    """A subclass with a forward of its own, as timm has several."""

    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight * 2
        return functional.conv2d(input, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


@pytest.mark.parametrize(
    ("layer", "changes"),
    [
        (nn.Conv2d(3, 8, 1, stride=2), True),
        (nn.Conv2d(15, 8, 1, stride=(1, 3), bias=False), True),
        (nn.Conv2d(20, 8, 1, stride=2, groups=4), True),
        (nn.Conv2d(3, 8, 1, stride=2, padding="valid"), True),
        (ScaledConv2d(4, 8, 1, stride=(3, 2)), True),
        (nn.Conv2d(16, 8, 1, stride=2), False),
        (nn.Conv2d(3, 8, 1), False),
        (nn.Conv2d(3, 8, 1, stride=2, padding=1), False),
        (nn.Conv2d(3, 8, 3, stride=2), False),
    ],
)
def test_strides_of_small_points_are_taken_first(layer: nn.Conv2d, changes: bool) -> None:
    ours = copy.deepcopy(layer)
    for _ in range(2):  # a student is laid out for training, and again for evaluation
        take_strides_first(ours)
        use_matrix_products(ours)
    ours = copy.deepcopy(ours)
    assert (ours.stride == (1, 1) and layer.stride != (1, 1)) == changes
    assert list(ours.state_dict()) == list(layer.state_dict())
    images = torch.randn(2, layer.in_channels, 23, 18)
    for mine, theirs in zip(outputs_and_gradients(ours, images), outputs_and_gradients(layer, images), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_a_small_point_with_a_stride_is_trained_without_damage_to_memory() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 8, 1, stride=2, bias=False)
    images = torch.randn(2, 4, 64, 64)
    expected = torch.autograd.grad(layer(images).square().sum(), layer.weight)[0]
    ours = to_channels_last(copy.deepcopy(layer))
    for _ in range(20):
        output = ours(images.contiguous(memory_format=torch.channels_last))
        (found,) = torch.autograd.grad(output.square().sum(), ours.weight)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)
