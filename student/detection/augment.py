"""Random views of an image with its boxes, by torchvision's own transforms."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from student.detection.config import DetectorConfig

SMALLEST = 1.0  # pixels; what is left of a box beyond a crop's border


class BoxAugmenter:
    """Turns a uint8 image and its target into what is trained on, by the config's flips, colours and crops.

    A seed for each view, so that how many random numbers one takes shifts no other.
    """

    def __init__(self, config: DetectorConfig) -> None:
        steps: list[torch.nn.Module] = []
        if config.color_jitter > 0:
            strength = config.color_jitter
            steps.append(v2.ColorJitter(brightness=strength, contrast=strength, saturation=strength))
        if config.crop:
            steps.append(v2.RandomIoUCrop())
        if config.flip > 0:
            steps.append(v2.RandomHorizontalFlip(config.flip))
        steps.append(v2.SanitizeBoundingBoxes(min_size=SMALLEST, labels_getter=lambda sample: sample["rows"]))
        steps.append(v2.ToDtype(torch.float32, scale=True))
        self.steps = v2.Compose(steps)

    def __call__(self, image: Tensor, target: dict[str, Tensor], seed: int) -> tuple[Tensor, dict[str, Tensor]]:
        """uint8 [3, H, W] -> float [3, H', W'] in 0..1, and the boxes that are still on it with their labels and
        answers."""
        canvas = (int(image.shape[-2]), int(image.shape[-1]))
        sample = {
            "image": tv_tensors.Image(image),
            "boxes": tv_tensors.BoundingBoxes(target["boxes"], format="XYXY", canvas_size=canvas),
            "rows": torch.arange(len(target["boxes"])),
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            seen = self.steps(sample)
        rows = seen["rows"]
        return seen["image"].as_subclass(torch.Tensor), {
            "boxes": seen["boxes"].as_subclass(torch.Tensor),
            "labels": target["labels"][rows],
            "aspects": target["aspects"][rows],
            "image_aspects": target["image_aspects"],
        }
