"""The features of a backbone that is not trained: computed once, and shared by the students that learn from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from student.classification.augment import Augmenter
from student.classification.config import StudentConfig
from student.classification.images import normalized_batches
from student.classification.model import Student, create_network
from student.core.backbones import to_channels_last
from student.core.images import Images
from student.core.pretrained import digest_of_weights_file
from student.core.progress import ImageBar
from student.core.schedule import CROPS, derive_seed

BATCH = 64


class SharedFeatures:
    """Arrays that the students of an experiment share, in memory: each is computed for the first that needs it."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], Tensor] = {}

    def get(self, key: tuple[object, ...], compute: Callable[[], Tensor]) -> Tensor:
        if key not in self._known:
            self._known[key] = compute()
        return self._known[key]


def backbone_features(config: StudentConfig, images: Images, *, progress: bool = False) -> NDArray[np.float32]:
    """What the last layer of the config's backbone is given for each of the `images` of an evaluation cache, in their
    order: [N, D], float32. The backbone has the weights that `pretrained` or `weights` names. Raises ConfigInvalid."""
    return evaluation_features(untrained_backbone(config), config, images, progress=progress).numpy()


def features_key(config: StudentConfig, images: str) -> tuple[object, ...]:
    """What the features of some images of an experiment, here called `images`, depend on."""
    weights = None if config.weights is None else digest_of_weights_file(config.weights)
    sizes = config.image_size, config.shown_size
    return images, config.backbone, config.pretrained, weights, *sizes, config.damaged_images


def evaluation_features(student: Student, config: StudentConfig, images: Images, *, progress: bool = False) -> Tensor:
    """The features [N, D] of all `images` of an evaluation cache, in their order, float32 on the CPU."""
    pixels = evaluation_pixels(student, images, torch.device(config.accelerator))
    return over_batches(student, student.features, pixels, len(images), progress=progress)


def evaluation_pixels(student: Student, images: Images, device: torch.device) -> Iterator[Tensor]:
    """Pixels [B, 3, H, W] of all `images` of an evaluation cache as `student` is shown them, in their order."""
    return normalized_batches(images, student.mean, student.std, device, batch_size=BATCH)


def augmented_pixels(
    student: Student, config: StudentConfig, images: Images, view: int, device: torch.device
) -> Iterator[Tensor]:
    """The same of a training cache, augmented as the config says. The draws follow from the number of the `view`
    alone, so that students of all seeds share its features."""
    augment = Augmenter(config, student.mean, student.std)
    crops = torch.Generator().manual_seed(derive_seed(view, CROPS))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(view, CROPS))
        for shown in images.in_order(BATCH):
            yield augment(shown, crops, device)


@torch.no_grad()
def over_batches(
    student: Student, compute: Callable[[Tensor], Tensor], batches: Iterator[Tensor], images: int, *, progress: bool
) -> Tensor:
    """What `compute`, with the frozen `student`, makes of all `batches` of pixels of so many images: float32 on the
    CPU, [N, ...]."""
    student = to_channels_last(student).eval()
    found: list[Tensor] = []
    with ImageBar("computing features", images, shown=progress) as bar:
        for pixels in batches:
            student.to(pixels.device)
            found.append(compute(pixels.contiguous(memory_format=torch.channels_last)).float().cpu())
            bar.advance(len(pixels))
    return torch.cat(found)


def untrained_backbone(config: StudentConfig) -> Student:
    """The backbone with the weights that the config names, before it is trained."""
    return Student(create_network(config, outputs=2), classes=2, aspects=0)
