"""The features of a backbone that is not trained: computed once, and shared by the students that learn from them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from student.classification.augment import normalize_pixels
from student.classification.config import StudentConfig
from student.classification.model import Student, create_network
from student.core.backbones import to_channels_last
from student.core.cache import ImageCache
from student.core.progress import ImageBar

BATCH = 64


def backbone_features(config: StudentConfig, images: ImageCache, *, progress: bool = False) -> NDArray[np.float32]:
    """What the last layer of the config's backbone is given for each of the `images` of an evaluation cache, in their
    order: [N, D], float32. The backbone has the weights that `pretrained` or `weights` names. Raises ConfigInvalid."""
    student = Student(create_network(config, outputs=2), classes=2, aspects=0)
    batches = evaluation_batches(student, images, torch.device(config.accelerator))
    return features_of_batches(student, batches, len(images), progress=progress).numpy()


def evaluation_batches(student: Student, images: ImageCache, device: torch.device) -> Iterator[Tensor]:
    """Pixels [B, 3, H, W] of all `images` of an evaluation cache as `student` is shown them, in their order."""
    for start in range(0, len(images), BATCH):
        pixels = images.stack(slice(start, start + BATCH)).to(device)
        yield normalize_pixels(pixels, student.mean, student.std)


@torch.no_grad()
def features_of_batches(student: Student, batches: Iterator[Tensor], images: int, *, progress: bool) -> Tensor:
    """Features [N, D], float32 on the CPU, of batches of pixels [B, 3, H, W] of so many images."""
    student = to_channels_last(student).eval()
    found: list[Tensor] = []
    with ImageBar("computing features", images, shown=progress) as bar:
        for pixels in batches:
            student.to(pixels.device)
            found.append(student.features(pixels.contiguous(memory_format=torch.channels_last)).float().cpu())
            bar.advance(len(pixels))
    return torch.cat(found)
