"""A timm backbone whose last layer answers for the classes and, beside them, for the aspect questions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor, nn

from student.config import ConfigInvalid, StudentConfig

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Logits(NamedTuple):
    """What a student says about a batch. Only the class logits may reach an argmax."""

    class_logits_BC: Tensor
    aspect_logits_BQ: Tensor


class Student(nn.Module):
    """`network` is any timm model with C + Q outputs, the classes first; Q may be 0."""

    def __init__(self, network: nn.Module, *, classes: int, aspects: int) -> None:
        super().__init__()
        self.network = network
        self.classes = classes
        self.aspects = aspects

    def forward(self, images_BCHW: Tensor) -> Logits:
        outputs: Tensor = self.network(images_BCHW)
        return Logits(outputs[:, : self.classes], outputs[:, self.classes :])

    @property
    def mean(self) -> tuple[float, ...]:
        """What the backbone expects to be subtracted from pixels in 0..1, per channel."""
        return tuple(self._pretrained_cfg.get("mean") or IMAGENET_MEAN)

    @property
    def std(self) -> tuple[float, ...]:
        return tuple(self._pretrained_cfg.get("std") or IMAGENET_STD)

    @property
    def _pretrained_cfg(self) -> Mapping[str, Any]:
        cfg: Mapping[str, Any] = self.network.pretrained_cfg  # type: ignore[assignment]
        return cfg


def channels_last(student: Student) -> Student:
    """`student` with its convolutions laid out as CPUs with matrix units and tensor cores want them."""
    return student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def build_student(config: StudentConfig, *, classes: int, aspects: int) -> Student:
    """A fresh student, the same for the same seed.

    Students of one seed with different numbers of aspects start from the same backbone and the same class rows: the
    wide network takes over everything that a network with the classes alone would have drawn.
    """
    narrow = create_network(config, outputs=classes)
    if aspects == 0:
        return Student(narrow, classes=classes, aspects=0)
    wide = create_network(config, outputs=classes + aspects)
    with torch.no_grad():
        _copy_into(narrow.state_dict(), wide, classes=classes, aspects=aspects)
    return Student(wide, classes=classes, aspects=aspects)


def without_aspects(student: Student, config: StudentConfig) -> Student:
    """The same classifier with the class outputs alone."""
    narrow = create_network(config.replace(pretrained=False), outputs=student.classes)
    wide_state = student.network.state_dict()
    narrow.load_state_dict(
        {
            name: wide_state[name][: len(tensor)] if wide_state[name].shape != tensor.shape else wide_state[name]
            for name, tensor in narrow.state_dict().items()
        }
    )
    return Student(narrow.train(student.training), classes=student.classes, aspects=0)


def create_network(config: StudentConfig, *, outputs: int) -> nn.Module:
    """The config's timm model with `outputs` outputs, initialised from its seed; leaves torch's generator alone.

    Raises ConfigInvalid where timm cannot build it.
    """
    options: dict[str, Any] = {"num_classes": outputs, "drop_rate": config.drop_rate}
    # Transformers and their like are built for one size.
    if timm.get_pretrained_cfg_value(config.backbone, "fixed_input_size"):
        options["img_size"] = config.image_size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        try:
            network: nn.Module = timm.create_model(config.backbone, pretrained=config.pretrained, **options)
            # Many an image size that does not fit is only noticed on the way through.
            with torch.no_grad():
                network.eval()(torch.zeros(1, 3, config.image_size, config.image_size))
        except Exception as error:  # timm and its models raise whatever they stumble over, downloads included
            why = " ".join(str(error).split())[:200]
            raise ConfigInvalid(
                f"timm cannot build backbone '{config.backbone}' for {config.image_size} px "
                f"(pretrained={config.pretrained}): {type(error).__name__}: {why}"
            ) from error
    return network.train()


def _copy_into(source: Mapping[str, Tensor], wide: nn.Module, *, classes: int, aspects: int) -> None:
    for name, target in wide.state_dict().items():
        drawn = source[name]
        if drawn.shape == target.shape:
            target.copy_(drawn)
        else:
            assert (len(drawn), len(target)) == (classes, classes + aspects), f"{name} is no row of the head"
            target[:classes].copy_(drawn)
