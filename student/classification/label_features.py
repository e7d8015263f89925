"""Features of the training images by the pretrained backbone before training, for label propagation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from student.classification.augment import normalize_pixels
from student.classification.config import StudentConfig
from student.classification.features import (
    BATCH,
    evaluation_features,
    features_key,
    over_batches,
    untrained_backbone,
)
from student.classification.images import evaluation_views
from student.classification.model import Student
from student.classification.task import TrainingImages
from student.core.images import Images


def label_features(config: StudentConfig, images: TrainingImages, *, progress: bool = False) -> NDArray[np.float32]:
    """[N, D] of all training images, before the backbone is trained. Students that share `images` compute them once."""

    def compute() -> Tensor:
        backbone = untrained_backbone(config)
        if config.freeze:
            return evaluation_features(backbone, config, images.shown, progress=progress)
        pixels = _training_pixels(backbone, config, images.shown, torch.device(config.accelerator))
        return over_batches(backbone, backbone.features, pixels, len(images.shown), progress=progress)

    # With `freeze` they are what the last layers are trained on.
    key = (
        *features_key(config, "train"),
        "features" if config.freeze else f"cached at {config.stored_size}{' by drafts' * config.draft}",
    )
    return images.features.get(key, compute).numpy()


def _training_pixels(student: Student, config: StudentConfig, images: Images, device: torch.device) -> Iterator[Tensor]:
    """Pixels [B, 3, H, W] of all `images` of a training cache as `student` is shown them in evaluation."""
    for shown in images.in_order(BATCH):
        views = evaluation_views(config, shown)
        yield normalize_pixels(views.to(device), student.mean, student.std)
