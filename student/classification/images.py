"""The images as a classifier is shown them, in training and in evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from storage.datasets.base import ImageDataset, ImageRecord
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


def shrink_for_training(image: Image.Image, *, size: int) -> Image.Image:
    """`image` with its short side at `size`, never enlarged; panoramas lose their ends."""
    short = min(image.size)
    limit = LONGEST_SIDE * short
    if max(image.size) > limit:
        image = v2.functional.center_crop(image, [min(image.height, limit), min(image.width, limit)])
    return image if short <= size else v2.functional.resize(image, [size], InterpolationMode.BILINEAR)


def evaluation_view(config: StudentConfig, image: Tensor) -> Tensor:
    """uint8 [3, H, W] from the training cache -> uint8 [size, size, 3]."""
    decoded = Image.fromarray(image.permute(1, 2, 0).numpy())
    view = view_for_evaluation(decoded, resize_size=config.shown_size, image_size=config.image_size)
    return torch.from_numpy(np.array(view))


def view_for_evaluation(image: Image.Image, *, resize_size: int, image_size: int) -> Image.Image:
    """Short side to `resize_size`, then the middle square of `image_size`."""
    if max(image.size) > (limit := EXTREME * min(image.size)):
        # What is far from the middle would only be made larger and thrown away.
        image = v2.functional.center_crop(image, [min(image.height, limit), min(image.width, limit)])
    resized = v2.functional.resize(image, [resize_size], InterpolationMode.BILINEAR)
    view: Image.Image = v2.functional.center_crop(resized, [image_size, image_size])
    return view
