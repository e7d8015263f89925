"""The images as a classifier is shown them, in training and in evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from storage.datasets.base import ImageDataset, ImageRecord
from student.classification.augment import normalize_pixels
from student.classification.config import StudentConfig
from student.core.cache import ImageCache, image_cache

LONGEST_SIDE = 2  # times the short side; what a panorama has beyond that is cut away, so that batches stay small
EXTREME = 8  # times the short side: the same in evaluation, far outside the middle square


@contextmanager
def training_cache(
    config: StudentConfig,
    dataset: ImageDataset,
    records: Sequence[ImageRecord],
    folder: Path,
    *,
    progress: bool = False,
) -> Iterator[ImageCache]:
    """Training images with their short side at most `config.stored_size`; gone from the disk when the block ends."""
    prepare = partial(shrink_for_training, size=config.stored_size)
    with image_cache(
        dataset, records, prepare, folder / "train-pixels.uint8", config.damaged_images, progress
    ) as cache:
        yield cache


@contextmanager
def evaluation_cache(
    config: StudentConfig,
    dataset: ImageDataset,
    records: Sequence[ImageRecord],
    folder: Path,
    *,
    progress: bool = False,
) -> Iterator[ImageCache]:
    """Images exactly as a student is shown them outside training, all [image_size, image_size, 3]."""
    prepare = partial(view_for_evaluation, resize_size=config.shown_size, image_size=config.image_size)
    with image_cache(dataset, records, prepare, folder / "eval-pixels.uint8", config.damaged_images, progress) as cache:
        yield cache


def normalized_batches(
    images: ImageCache,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device | None = None,
    *,
    batch_size: int,
) -> Iterator[Tensor]:
    """Pixels [B, 3, H, W] of all `images` of an evaluation cache, normalised, channels last, in their order."""
    for start in range(0, len(images), batch_size):
        pixels = images.stack(slice(start, start + batch_size)).to(device)
        yield normalize_pixels(pixels, mean, std).contiguous(memory_format=torch.channels_last)


def shrink_for_training(image: Image.Image, *, size: int) -> Image.Image:
    """`image` with its short side at `size`, never enlarged; panoramas lose their ends."""
    short = min(image.size)
    limit = LONGEST_SIDE * short
    if max(image.size) > limit:
        image = v2.functional.center_crop(image, [min(image.height, limit), min(image.width, limit)])
    return image if short <= size else v2.functional.resize(image, [size], InterpolationMode.BILINEAR)


def evaluation_views(config: StudentConfig, images: ImageCache, indices: Iterable[int]) -> Tensor:
    """Some `images` of a training cache as a student is shown them in evaluation: uint8 [B, size, size, 3]."""
    views = []
    for index in indices:
        decoded = Image.fromarray(images.image(index).permute(1, 2, 0).numpy())
        view = view_for_evaluation(decoded, resize_size=config.shown_size, image_size=config.image_size)
        views.append(torch.from_numpy(np.array(view)))
    return torch.stack(views)


def view_for_evaluation(image: Image.Image, *, resize_size: int, image_size: int) -> Image.Image:
    """Short side to `resize_size`, then the middle square of `image_size`."""
    if max(image.size) > (limit := EXTREME * min(image.size)):
        # What is far from the middle would only be made larger and thrown away.
        image = v2.functional.center_crop(image, [min(image.height, limit), min(image.width, limit)])
    resized = v2.functional.resize(image, [resize_size], InterpolationMode.BILINEAR)
    view: Image.Image = v2.functional.center_crop(resized, [image_size, image_size])
    return view
