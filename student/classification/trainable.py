"""Check with random pixels that a backbone can be trained by a method, before anything is asked or trained."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from storage.platform.crashes import reporting_crash
from student.classification.config import StudentConfig
from student.classification.model import Logits, Student, build_student
from student.classification.probe import require_probeable
from student.core.backbones import network_errors, require_weights, to_channels_last
from student.core.setting_errors import ConfigInvalid

CLASSES, ASPECTS = 3, 2


def require_trainable(config: StudentConfig, images: int | None = None) -> None:
    """One step of training and one of evaluation of the config's backbone as its method needs it.

    `images` is the size of the smallest batch where that is below the config's. Raises ConfigInvalid, of one line,
    where the backbone does not work: some give other outputs in training, or nothing that an inner stage learns by.
    """
    if config.freeze and not config.pretrained and config.weights is None:
        raise ConfigInvalid(
            "freeze trains on the features of a pretrained backbone; give --set weights=FILE or --set pretrained=true"
        )
    if config.pretrained:
        require_weights(config.backbone, "--set weights=FILE")
    batch = config.batch_size if images is None else min(images, config.batch_size)
    tried = StudentConfig(
        backbone=config.backbone,
        image_size=config.image_size,
        weights=config.weights,
        freeze=config.freeze,
        views=config.views,
        policy=config.policy,
        hidden=config.hidden,
        drop_rate=config.drop_rate,
        epochs=1,
        method=config.method,
        alpha=config.alpha,
        network=config.network,
    )
    _try_out(tried, images=1 if batch // config.devices < 2 else 2)


@functools.cache
def _try_out(config: StudentConfig, images: int) -> None:
    aspects = ASPECTS if config.objective.aspect_terms else 0
    crash = (
        f"backbone '{config.backbone}' crashes torch on this machine when it is trained by method '{config.method}' at "
        f"{config.image_size} px; nothing was asked or trained: take another backbone or image_size"
    )
    refused = network_errors(
        f"backbone '{config.backbone}' cannot be trained by method '{config.method}' at {config.image_size} px (",
        f"); {_advice(config, images)}",
    )
    with refused, reporting_crash(crash), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        student = to_channels_last(build_student(config, classes=CLASSES, aspects=aspects))
        pixels = torch.randn(images, 3, config.image_size, config.image_size)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        if config.freeze:
            require_probeable(student, config)
        else:
            _step(student, pixels)


def _step(student: Student, pixels: Tensor) -> None:
    outputs = _outputs(student.train()(pixels), len(pixels), student)
    torch.stack([output.square().mean() for output in outputs]).sum().backward()
    with torch.no_grad():
        _outputs(student.eval()(pixels), len(pixels), student)


def _outputs(logits: Logits, images: int, student: Student) -> list[Tensor]:
    """Every output that is learned by, once its shape is what the losses expect."""
    heads = [logits, *logits.inner]
    for one in heads:
        shapes = tuple(one.class_logits_BC.shape), tuple(one.aspect_logits_BQ.shape)
        if shapes != ((images, student.classes), (images, student.aspects)):
            raise ValueError(f"outputs of shapes {shapes[0]} and {shapes[1]} for {images} images")
    outputs = [output.float() for one in heads for output in (one.class_logits_BC, one.aspect_logits_BQ)]
    return [output for output in outputs if output.numel()]


def _advice(config: StudentConfig, images: int) -> str:
    if images == 1:
        return "many backbones need batches of two images or more: set batch_size, or add images"
    if config.objective.inner:
        return "take another backbone or image_size, or method makd, lavid or base, which leave inner stages alone"
    return "take another backbone or image_size"
