"""Random crops, flips and colours, drawn for every image of a batch on its own, applied to the batch at once.

torchvision's v2 transforms draw one set of parameters for a whole batch, which would show a batch the same crop 64
times. So the parameters are drawn here, one row per image, by torchvision's own rules; crop and flip are then a single
`grid_sample` on the device, and the policies of v2 (TrivialAugment, RandAugment) are called image by image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import v2

if TYPE_CHECKING:
    from student.classification.config import StudentConfig

ATTEMPTS = 10  # as in torchvision's RandomResizedCrop, before it falls back to a centre crop
LUMA = (0.299, 0.587, 0.114)


class Augmenter:
    """Turns uint8 training images of any shape into a normalised batch, differently for every image.

    Draws from `generator` and, for the v2 policies, from torch's global generator.
    """

    def __init__(self, config: StudentConfig, mean: Sequence[float], std: Sequence[float]) -> None:
        self.config = config
        self.policy = {None: None, "trivial": v2.TrivialAugmentWide(), "rand": v2.RandAugment()}[config.policy]
        self.mean, self.std = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))

    def __call__(
        self,
        images: Sequence[Tensor],
        generator: torch.Generator,
        device: torch.device,
        rows: range | None = None,
    ) -> Tensor:
        """`images`: uint8 [3, H, W] each, any H and W -> float32 [B, 3, size, size] on `device`.

        With several devices they are the `rows` of the shared batch, up to its end (None: all of it), and random
        numbers are drawn for the whole batch.
        """
        config = self.config
        rows = range(len(images)) if rows is None else rows
        mine = slice(rows.start, rows.stop, rows.step)
        if self.policy is not None:
            images = [self.policy(image) for image in images]
        sizes = torch.ones(rows.stop, 2, dtype=torch.int64)
        sizes[mine] = torch.tensor([image.shape[-2:] for image in images])
        boxes = random_boxes(sizes, config.crop_scale, config.crop_ratio, generator)[mine]
        flips = (torch.rand(rows.stop, generator=generator) < config.flip)[mine]
        jitter = random_jitter(rows.stop, config.color_jitter, generator)[mine]
        batch, canvas = pad_together(images)
        batch = crop_batch(batch.to(device, non_blocking=True).float(), boxes, flips, canvas, config.image_size)
        white = 255.0
        if config.color_jitter > 0:
            batch, white = jitter_batch(batch.div_(255), jitter.to(device)), 1.0
        # Normalised straight into the network's memory layout, which saves a pass over the pixels.
        normalised = torch.empty_like(batch, memory_format=torch.channels_last)
        torch.sub(batch, (white * self.mean).to(device), out=normalised)
        return normalised.div_((white * self.std).to(device))


def mix(config: StudentConfig, batch: Tensor, generator: torch.Generator) -> tuple[Tensor, float, Tensor]:
    """Mixup (arXiv 1710.09412) or CutMix (arXiv 1905.04899) of a batch [B, 3, H, W], chosen at random where the config
    has both: the mixed batch, the share in it of each image's own pixels, and the index [B] of each one's partner."""
    strengths = [(kind, alpha) for kind, alpha in (("mixup", config.mixup), ("cutmix", config.cutmix)) if alpha > 0]
    partners = torch.randperm(len(batch), generator=generator) if strengths else torch.arange(len(batch))
    if not strengths:
        return batch, 1.0, partners
    kind, alpha = strengths[int(torch.randint(len(strengths), (), generator=generator))]
    share = float(np.random.default_rng(int(torch.randint(2**62, (), generator=generator))).beta(alpha, alpha))
    other = batch[partners.to(batch.device)]
    if kind == "mixup":
        return share * batch + (1 - share) * other, share, partners
    height, width = batch.shape[-2:]
    cut_height, cut_width = (round(side * (1 - share) ** 0.5) for side in (height, width))
    top = int(torch.randint(height - cut_height + 1, (), generator=generator))
    left = int(torch.randint(width - cut_width + 1, (), generator=generator))
    box = (..., slice(top, top + cut_height), slice(left, left + cut_width))
    batch = batch.clone()
    batch[box] = other[box]
    return batch, 1 - cut_height * cut_width / (height * width), partners


def normalize_pixels(pixels_BHWC: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """uint8 [B, H, W, 3] from the evaluation cache -> float32 [B, 3, H, W], normalised."""
    scaled = v2.functional.to_dtype(pixels_BHWC.permute(0, 3, 1, 2), torch.float32, scale=True)
    normalized: Tensor = v2.functional.normalize(scaled, list(mean), list(std))
    return normalized


def random_boxes(
    sizes: Tensor, scale: tuple[float, float], ratio: tuple[float, float], generator: torch.Generator
) -> Tensor:
    """One box per image as float [B, 4] (top, left, height, width) in pixels, by RandomResizedCrop's rules: an area
    share uniform in `scale`, a log aspect ratio (width / height) uniform in `ratio`, the first of ten that fits."""
    count = len(sizes)
    height, width = sizes[:, :1].double(), sizes[:, 1:].double()
    draws = torch.rand(count, ATTEMPTS, 4, generator=generator, dtype=torch.float64)
    area = height * width * (scale[0] + draws[..., 0] * (scale[1] - scale[0]))
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = torch.exp(low + draws[..., 1] * (high - low))
    box_width, box_height = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (box_width >= 1) & (box_height >= 1) & (box_width <= width) & (box_height <= height)
    first = fits.int().argmax(dim=1, keepdim=True)
    # Nothing fitted: the largest centred box whose aspect ratio is allowed.
    centre_width = torch.minimum(width, (height * ratio[1]).round())
    centre_height = torch.minimum(height, (width / ratio[0]).round())
    fitted = fits.any(dim=1, keepdim=True)
    chosen_width = torch.where(fitted, box_width.gather(1, first), centre_width)
    chosen_height = torch.where(fitted, box_height.gather(1, first), centre_height)
    place = torch.where(fitted.unsqueeze(-1), draws.gather(1, first.unsqueeze(-1).expand(-1, -1, 4)), 0.5)[:, 0]
    top = (place[:, 2:3] * (height - chosen_height + fitted)).floor()
    left = (place[:, 3:4] * (width - chosen_width + fitted)).floor()
    return torch.cat([top, left, chosen_height, chosen_width], dim=1).float()


def random_jitter(count: int, strength: float, generator: torch.Generator) -> Tensor:
    """Factors [B, 3] for brightness, contrast and saturation, each uniform in 1 - strength .. 1 + strength."""
    return 1 + strength * (2 * torch.rand(count, 3, generator=generator) - 1)


def pad_together(images: Sequence[Tensor]) -> tuple[Tensor, tuple[int, int]]:
    """uint8 [3, H, W] of any shape -> one [B, 3, Hmax, Wmax], each in the top left corner, edges repeated."""
    height = max(image.shape[-2] for image in images)
    width = max(image.shape[-1] for image in images)
    batch = torch.empty(len(images), 3, height, width, dtype=torch.uint8, device=images[0].device)
    for row, image in zip(batch, images, strict=True):
        h, w = image.shape[-2:]
        row[:, :h, :w] = image
        # Bilinear sampling reads one pixel beyond a box at the border: give it the border's own colour.
        if w < width:
            row[:, :h, w] = image[:, :, -1]
        if h < height:
            row[:, h] = row[:, h - 1]
    return batch, (height, width)


def crop_batch(batch: Tensor, boxes: Tensor, flips: Tensor, canvas: tuple[int, int], size: int) -> Tensor:
    """Cut each image's box (top, left, height, width in canvas pixels), resize it to `size` x `size`, mirror it where
    `flips` says so: float [B, 3, size, size], bilinear."""
    top, left, box_height, box_width = boxes.unbind(dim=1)
    sign = torch.where(flips, -1.0, 1.0)
    zero = torch.zeros_like(top)
    # grid_sample's coordinates run from -1 to 1 over the canvas (align_corners=False).
    horizontal = torch.stack([sign * box_width / canvas[1], zero, (2 * left + box_width) / canvas[1] - 1], dim=1)
    vertical = torch.stack([zero, box_height / canvas[0], (2 * top + box_height) / canvas[0] - 1], dim=1)
    theta = torch.stack([horizontal, vertical], dim=1).to(batch.device)
    grid = functional.affine_grid(theta, [len(batch), 3, size, size], align_corners=False)
    return functional.grid_sample(batch, grid, mode="bilinear", padding_mode="border", align_corners=False)


def jitter_batch(batch: Tensor, factors: Tensor) -> Tensor:
    """Brightness, contrast and saturation in this order, as torchvision blends them, with one factor per image each."""
    brightness, contrast, saturation = factors[:, :, None, None, None].unbind(dim=1)
    luma = torch.tensor(LUMA, device=batch.device).view(1, 3, 1, 1)
    batch = (batch * brightness).clamp(0, 1)
    grey_mean = (batch * luma).sum(dim=1, keepdim=True).mean(dim=(2, 3), keepdim=True)
    batch = (contrast * batch + (1 - contrast) * grey_mean).clamp(0, 1)
    grey = (batch * luma).sum(dim=1, keepdim=True)
    return (saturation * batch + (1 - saturation) * grey).clamp(0, 1)
