"""The images as a classifier is shown them, in training and in evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from storage.datasets.base import ImageDataset, ImageRecord
from student.classification.augment import normalize_pixels
from student.classification.config import StudentConfig
from student.core.decoding import ImageSource
from student.core.images import Images
from student.core.placement import open_images
from student.core.resizing import EvaluationView, TrainingShrink


def training_cache(
    config: StudentConfig,
    dataset: ImageDataset,
    records: Sequence[ImageRecord],
    folder: Path,
    *,
    progress: bool = False,
) -> AbstractContextManager[Images]:
    """Training images with their short side at most `config.stored_size`, see `open_images`."""
    preparation = TrainingShrink(size=config.stored_size, draft=config.draft)
    source = ImageSource(dataset=dataset, records=records, preparation=preparation)
    return open_images(config, source, folder / "train-pixels.uint8", progress=progress)


def evaluation_cache(
    config: StudentConfig,
    dataset: ImageDataset,
    records: Sequence[ImageRecord],
    folder: Path,
    *,
    progress: bool = False,
) -> AbstractContextManager[Images]:
    """Images exactly as a student is shown them outside training, all [image_size, image_size, 3]."""
    source = ImageSource(dataset=dataset, records=records, preparation=evaluation_view(config))
    return open_images(config, source, folder / "eval-pixels.uint8", progress=progress)


def evaluation_view(config: StudentConfig) -> EvaluationView:
    return EvaluationView(resize_size=config.shown_size, image_size=config.image_size)


def normalized_batches(
    images: Images,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device | None = None,
    *,
    batch_size: int,
) -> Iterator[Tensor]:
    """Pixels [B, 3, H, W] of all `images` of an evaluation cache, normalised, channels last, in their order."""
    for shown in images.in_order(batch_size):
        pixels = stack(shown).to(device)
        yield normalize_pixels(pixels, mean, std).contiguous(memory_format=torch.channels_last)


def stack(shown: Sequence[Tensor]) -> Tensor:
    """Images [3, H, W] of one shape as [B, H, W, 3]."""
    return torch.stack([image.permute(1, 2, 0) for image in shown])


def evaluation_views(config: StudentConfig, shown: Sequence[Tensor]) -> Tensor:
    """Images of a training cache as a student is shown them in evaluation: uint8 [B, size, size, 3]."""
    view = evaluation_view(config)
    views = [view(Image.fromarray(image.permute(1, 2, 0).numpy())) for image in shown]
    return torch.stack([torch.from_numpy(np.array(one)) for one in views])
