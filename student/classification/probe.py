"""Train the last layers alone, on features of a frozen backbone that are computed once: a linear probe, or a small
network where there is a hidden layer.

While the layers are trained, each feature's mean is subtracted, and all are divided by one deviation, so that one
learning rate suits all backbones; afterwards both become part of the first layer's weights. Each divided by its own
deviation, features that vary little would count as much as others, which is several points worse with few labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional

from student.classification.config import StudentConfig
from student.classification.features import augmented_pixels, evaluation_pixels, features_key, over_batches
from student.classification.head import classifiers_of
from student.classification.model import Logits, Student
from student.classification.task import ClassifierTask, Job
from student.core.schedule import CROPS, derive_seed
from student.core.setting_errors import ConfigInvalid
from student.core.training_task import Part

LEAST_DEVIATION = 1e-6
TOLERANCE = 1e-3


class ProbeHead(nn.Module):
    """The layers of `student` after its features [B, D], trained on centred and scaled ones."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, student: Student, features_ND: Tensor, drop_rate: float) -> None:
        super().__init__()
        (self.classifier,) = classifiers_of(student.network)
        self.aspect_head = student.aspect_head
        self.classes, self.drop_rate = student.classes, drop_rate
        # Zeros: with few labels, random initial weights would remain in the outputs.
        for layer in self.last_layers:
            nn.init.zeros_(layer.weight)
        centred = all(layer.bias is not None for layer in self.first_layers)
        self.register_buffer("mean", features_ND.mean(dim=0) * centred)
        self.register_buffer(
            "deviation",
            features_ND.var(dim=0, correction=min(1, len(features_ND) - 1)).mean().sqrt().clamp(min=LEAST_DEVIATION),
        )

    @property
    def first_layers(self) -> list[nn.Linear]:
        return [layers[0] for layers in self._linear_layers]

    @property
    def last_layers(self) -> list[nn.Linear]:
        return [layers[-1] for layers in self._linear_layers]

    @property
    def _linear_layers(self) -> list[list[nn.Linear]]:
        heads = [self.classifier] if self.aspect_head is None else [self.classifier, self.aspect_head]
        return [[layer for layer in head.modules() if isinstance(layer, nn.Linear)] for head in heads]

    def forward(self, features_BD: Tensor) -> Logits:
        features_BD = (features_BD - self.mean) / self.deviation
        features_BD = functional.dropout(features_BD, self.drop_rate, self.training)
        outputs = self.classifier(features_BD)
        if self.aspect_head is not None:
            return Logits(outputs, self.aspect_head(features_BD))
        return Logits(outputs[:, : self.classes], outputs[:, self.classes :])

    @torch.no_grad()
    def unstandardised(self, layer: nn.Linear) -> dict[str, Tensor]:
        """Weight and bias of one of `first_layers` for features as they are."""
        weight = layer.weight / self.deviation
        if layer.bias is None:
            return {"weight": weight}
        return {"weight": weight, "bias": layer.bias - weight @ self.mean}

    def use_features_as_they_are(self) -> None:
        self.mean.zero_()
        self.deviation.fill_(1.0)

    @torch.no_grad()
    def move_standardisation(self) -> None:
        """Make mean and deviation part of the weights of `first_layers`: the outputs stay the same."""
        for layer in self.first_layers:
            for name, tensor in self.unstandardised(layer).items():
                getattr(layer, name).copy_(tensor)
        self.use_features_as_they_are()


class ProbeTask(ClassifierTask):
    """The last layers of a student on one device, and all features that they are trained on: [V, N, D]."""

    def __init__(self, fabric: Fabric, job: Job) -> None:
        super().__init__(fabric, job)
        self.view_N = torch.zeros(len(job.images.shown), dtype=torch.int64)

    def trained(self) -> nn.Module:
        self.student.requires_grad_(False)
        self.features_VND = self._of_views("features", self.student.features).to(self.fabric.device)
        self.network_logits_VNC: Tensor | None = None
        if self.larger is not None:
            learned_from = f"logits of {self.job.description.network}"
            self.network_logits_VNC = self._of_views(learned_from, self.larger).to(self.fabric.device)
        self.head = ProbeHead(self.student, self.features_VND.flatten(0, 1), self.config.drop_rate)
        return self.head.requires_grad_(True)

    def _of_views(self, name: str, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """What `compute` makes of every view of all training images: [V, N, ...]."""
        config, images, device = self.config, self.job.images, self.fabric.device
        key = (*features_key(config, "train"), name)

        def of_view(view: int) -> Tensor:
            if view == 0:
                pixels = evaluation_pixels(self.student, images.shown, device)
            else:
                assert images.augmented is not None
                pixels = augmented_pixels(self.student, config, images.augmented, view, device)
            return over_batches(self.student, compute, pixels, len(images.shown), progress=self.job.progress)

        drawn = (
            config.stored_size,
            config.crop_scale,
            config.crop_ratio,
            config.flip,
            config.color_jitter,
            config.draft,
        )
        keys = [key, *((*key, view, *drawn, config.policy) for view in range(1, config.views))]
        return torch.stack([images.features.get(key, partial(of_view, view)) for view, key in enumerate(keys)])

    def begin(self, epoch: int) -> None:
        generator = torch.Generator().manual_seed(derive_seed(self.config.seed, epoch, CROPS, 0))
        self.view_N = torch.randint(self.config.views, (len(self.view_N),), generator=generator)

    def step(self, model: nn.Module, part: Part, epoch: int) -> dict[str, Tensor]:
        images = part.indices
        views, strong_logits = self.view_N[images], None
        if self.objective.method.consistency_terms:  # the view of the evaluation is the weakly augmented one
            strong_logits = model(self.features_VND[views.clamp(min=1), images])
            views = torch.zeros_like(views)
        network_logits = None if self.network_logits_VNC is None else self.network_logits_VNC[views, images]
        return self.objective(model(self.features_VND[views, images]), images, network_logits, strong_logits)

    def class_logits(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        for images in batches:
            logits: Logits = self.head(self.features_VND[0, images])
            yield logits.class_logits_BC.float()

    def weights(self) -> dict[str, Tensor]:
        """Those of the whole student, for features as they are."""
        state = self.student.state_dict()
        names = {id(module): name for name, module in self.student.named_modules()}
        for layer in self.head.first_layers:
            plain = self.head.unstandardised(layer)
            state |= {f"{names[id(layer)]}.{name}": tensor for name, tensor in plain.items()}
        return state

    def load_kept(self, digest: str | None) -> None:
        super().load_kept(digest)
        self.head.use_features_as_they_are()


@torch.no_grad()
def is_probeable(student: Student, image_size: int) -> bool:
    """Whether the outputs of a student on the CPU are those of its last layer for the features that this is given."""
    pixels_BCHW = torch.randn(2, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    classifiers = classifiers_of(student.eval().network)
    if len(classifiers) != 1 or not isinstance(classifiers[0], nn.Linear | nn.Sequential):
        return False
    wanted, found = student(pixels_BCHW), student.classify(student.features(pixels_BCHW))
    return all(torch.allclose(one, other, atol=TOLERANCE) for one, other in zip(wanted[:2], found[:2], strict=True))


def require_probeable(student: Student, config: StudentConfig) -> None:
    """Raises ConfigInvalid for a backbone that `freeze` cannot train."""
    if not is_probeable(student, config.image_size):
        raise ConfigInvalid(
            f"backbone '{config.backbone}' does not end in a single linear layer, which freeze trains; "
            f"take another backbone, or give --set freeze=false"
        )
