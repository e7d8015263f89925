"""A backbone with outputs for the classes and for the aspect questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import timm
import torch
import torchvision
from torch import Tensor, nn

from student.classification.config import TORCHVISION, StudentConfig
from student.classification.head import add_hidden_layer, classifiers_of
from student.core.backbones import IMAGENET_MEAN, IMAGENET_STD, network_errors, require_weights
from student.core.pretrained import converted_state, fit_state, read_state, weights_file
from student.core.setting_errors import ConfigInvalid
from student.core.stages import Stage, inner_stages, inputs_of, outputs_of

AUXILIARY = ("googlenet", "inception_v3")  # of torchvision's


class Logits(NamedTuple):
    """The outputs of a student for a batch. Only the class logits may reach an argmax.

    `inner` has the outputs at inner stages, in their order; in training only.
    """

    class_logits_BC: Tensor
    aspect_logits_BQ: Tensor
    inner: tuple[Logits, ...] = ()


class Student(nn.Module):
    """`network` is any classifier with C + Q outputs, the classes first; Q may be 0.

    With an `aspect_head` the network has the C classes alone, and the head turns the features that its last layer is
    given into the Q aspects. `stages` have outputs for classes and aspects too, in training.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        classes: int,
        aspects: int,
        aspect_head: nn.Module | None = None,
        stages: Sequence[Stage] = (),
    ) -> None:
        super().__init__()
        self.network = network
        self.classes = classes
        self.aspects = aspects
        self.aspect_head = aspect_head
        self.stages = tuple(stages)
        self.inner_heads = nn.ModuleList(nn.Linear(stage.channels, classes + aspects) for stage in stages)

    def forward(self, images_BCHW: Tensor) -> Logits:
        watched = [self.network.get_submodule(stage.module) for stage in self.stages] if self.training else []
        with outputs_of(watched) as maps, inputs_of(self._classifiers) as features:
            outputs: Tensor = self.network(images_BCHW)
        if self.training and len(maps) != len(self.stages):
            raise ValueError("its inner stages are not run once each in training")
        heads = zip(self.stages, self.inner_heads, maps, strict=self.training)
        inner = tuple(self._split(head(stage.pool(output))) for stage, head, output in heads)
        if self.aspect_head is not None:
            return Logits(outputs, self.aspect_head(_joined(features)), inner)
        return self._split(outputs, inner)

    def _split(self, outputs: Tensor, inner: tuple[Logits, ...] = ()) -> Logits:
        return Logits(outputs[:, : self.classes], outputs[:, self.classes :], inner)

    def features(self, images_BCHW: Tensor) -> Tensor:
        """What the last layer is given, or all of them where there are several: [B, D]."""
        with inputs_of(classifiers_of(self.network)) as features:
            self.network(images_BCHW)
        return _joined(features)

    def classify(self, features_BD: Tensor) -> Logits:
        """The outputs for what `features` gives, where the network ends in a single layer (see `require_probeable`)."""
        (classifier,) = classifiers_of(self.network)
        outputs: Tensor = classifier(features_BD)
        if self.aspect_head is not None:
            return Logits(outputs, self.aspect_head(features_BD))
        return self._split(outputs)

    @property
    def _classifiers(self) -> Sequence[nn.Module]:
        return () if self.aspect_head is None else classifiers_of(self.network)

    @property
    def mean(self) -> tuple[float, ...]:
        """What the backbone expects to be subtracted from pixels in 0..1, per channel."""
        return tuple(self._pretrained_cfg.get("mean") or IMAGENET_MEAN)

    @property
    def std(self) -> tuple[float, ...]:
        return tuple(self._pretrained_cfg.get("std") or IMAGENET_STD)

    @property
    def _pretrained_cfg(self) -> Mapping[str, Any]:
        cfg: Mapping[str, Any] = getattr(self.network, "pretrained_cfg", {})
        return cfg


def _joined(features: Sequence[Tensor]) -> Tensor:
    """What classifiers were given side by side, [B, D]: maps [B, C, H, W] and tokens [B, N, C] by their mean."""
    if not features:
        raise ValueError("its classifier cannot be found")
    pooled = [one.mean(dim=(2, 3)) if one.dim() == 4 else one for one in features]
    pooled = [one.mean(dim=1) if one.dim() == 3 else one for one in pooled]
    return pooled[0] if len(pooled) == 1 else torch.cat(pooled, dim=1)


def build_student(config: StudentConfig, *, classes: int, aspects: int) -> Student:
    """A new student, the same for the same seed.

    Students of one seed with different numbers of aspects start from the same backbone and the same class rows: the
    wide network takes over everything that a network with the classes alone would have drawn.
    """
    method = config.objective
    narrow = create_network(config, outputs=classes)
    if aspects == 0 and not method.inner:
        return Student(narrow, classes=classes, aspects=0)
    try:
        stages = inner_stages(narrow, method.inner, config.image_size)
    except ConfigInvalid as error:
        raise ConfigInvalid(f"backbone '{config.backbone}' does not suit method '{config.method}': {error}") from error
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if method.head == "dual":
            width = _width(narrow, config)
            head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, aspects))
            return Student(narrow, classes=classes, aspects=aspects, aspect_head=head, stages=stages)
        wide = create_network(config, outputs=classes + aspects)
        with torch.no_grad():
            _copy_into(narrow.state_dict(), wide, classes=classes, aspects=aspects)
        return Student(wide, classes=classes, aspects=aspects, stages=stages)


def without_aspects(student: Student, config: StudentConfig) -> Student:
    """The same classifier with the class outputs alone."""
    if student.aspect_head is not None:
        return Student(student.network, classes=student.classes, aspects=0)
    narrow = create_network(config.untrained(), outputs=student.classes)
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
    if config.pretrained:
        require_weights(config.backbone, "--set weights=FILE")
    start = f"pretrained={config.pretrained}" if config.weights is None else f"weights={config.weights}"
    refused = network_errors(f"backbone '{config.backbone}' cannot be built for {config.image_size} px ({start}): ")
    with refused, torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = _torchvision_network(config, outputs) or _timm_network(config, outputs)
        if config.hidden is not None:
            add_hidden_layer(network, config.hidden, config.drop_rate, config.backbone)
        # Some image sizes that do not fit are only noticed in a forward pass.
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, config.image_size, config.image_size))
    return network.train()


def _timm_network(config: StudentConfig, outputs: int) -> nn.Module:
    options: dict[str, Any] = {"num_classes": outputs, "drop_rate": config.drop_rate}
    # Transformers and their like are built for one size.
    if timm.get_pretrained_cfg_value(config.backbone, "fixed_input_size"):
        options["img_size"] = config.image_size
    network: nn.Module = timm.create_model(config.backbone, pretrained=config.pretrained, **options)
    if config.weights is not None:
        _load_file(network, config.weights)
    return network


def _load_file(network: nn.Module, weights: str) -> None:
    """The file's tensors into the network; the classifier's only where they are of as many classes."""
    classifiers = {id(one) for classifier in classifiers_of(network) for one in classifier.parameters()}
    head = {name for name, one in network.named_parameters() if id(one) in classifiers}
    path = weights_file(weights)
    state = converted_state(read_state(path), network)
    network.load_state_dict(fit_state(state, network.state_dict(), head, path), strict=False)


def _torchvision_network(config: StudentConfig, outputs: int) -> nn.Module | None:
    """The network of a backbone that is named as torchvision's, None for any other."""
    if not config.backbone.startswith(TORCHVISION):
        return None
    name = config.backbone.removeprefix(TORCHVISION)
    # Their classifiers beside the last one are outputs of their own in training, by losses of their own.
    options: dict[str, Any] = {"aux_logits": False, "init_weights": False} if name in AUXILIARY else {}
    network: nn.Module = torchvision.models.get_model(name, num_classes=outputs, **options)
    return network


def _width(network: nn.Module, config: StudentConfig) -> int:
    """How many features the last layer is given."""
    student = Student(network.eval(), classes=0, aspects=0)
    with torch.no_grad():
        features = student.features(torch.zeros(1, 3, config.image_size, config.image_size))
    network.train()
    return features.shape[1]


def _copy_into(source: Mapping[str, Tensor], wide: nn.Module, *, classes: int, aspects: int) -> None:
    for name, target in wide.state_dict().items():
        drawn = source[name]
        if drawn.shape == target.shape:
            target.copy_(drawn)
        else:
            assert (len(drawn), len(target)) == (classes, classes + aspects), f"{name} is no row of the head"
            target[:classes].copy_(drawn)
