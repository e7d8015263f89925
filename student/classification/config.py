"""The settings of a classifier's training run, refused at the door where they make no sense."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, get_args

import torchvision

from student.classification.methods import Method, MethodUnknown, method_named
from student.core.settings import ConfigInvalid, TrainingConfig, did_you_mean, require_timm

Policy = Literal["trivial", "rand"]
Keep = Literal["last", "best"]

TORCHVISION = "torchvision:"  # before the name of a backbone that is torchvision's, not timm's
# Students by the names they have in papers.
STUDENTS = {
    "ResNet18": "resnet18",
    "ResNet34": "resnet34",
    "MobileNetV1": "mobilenetv1_100",
    "MobileNetV2": "mobilenetv2_100",
    "EfficientNet-B0": "efficientnet_b0",
    "ShuffleNetV2": f"{TORCHVISION}shufflenet_v2_x1_0",
    "ViT": "vit_base_patch16_224",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentConfig(TrainingConfig):
    """One classifier's training run.

    Training images are kept with their short side at `cache_size` and cropped at random; evaluation resizes the short
    side to `resize_size` and cuts the middle `image_size` square. The seed also decides the validation split.
    """

    EXECUTION_SETTINGS: ClassVar[frozenset[str]] = TrainingConfig.EXECUTION_SETTINGS | {
        "network"
    }  # its weights count, not its place
    CHOICES: ClassVar[Mapping[str, Sequence[str | None]]] = {
        **TrainingConfig.CHOICES,
        "policy": (*get_args(Policy), None),
        "keep": get_args(Keep),
    }

    cache_size: int | None = None  # None: 1.15 x image_size
    resize_size: int | None = None  # None: image_size

    METHOD: ClassVar[str] = "recommended"
    method: str = METHOD  # what is learnt besides the labels; student/classification/methods.py has the table
    network: str | None = None  # folder of a finished run whose network kd, dkd and their like learn from
    val_fraction: float = 0.1  # of the training split
    keep: Keep = "last"  # whose weights: the last epoch's, or those of the best one by validation, if there is any
    label_fraction: float = 1.0  # of the training images, whose label is known; of the others only the answers are
    label_smoothing: float = 0.0
    drop_rate: float = 0.0

    crop_scale: tuple[float, float] = (0.08, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    policy: Policy | None = None
    mixup: float = 0.0  # of Beta(mixup, mixup), the share of another image that is blended in; 0: none
    cutmix: float = 0.0  # of Beta(cutmix, cutmix), the area of another image that is pasted in; 0: none

    def __post_init__(self) -> None:
        object.__setattr__(self, "backbone", STUDENTS.get(self.backbone, self.backbone))
        TrainingConfig.__post_init__(self)
        for name in ("mixup", "cutmix"):
            self.require(getattr(self, name) >= 0, name, "at least 0")
        for name in ("val_fraction", "label_smoothing", "drop_rate"):
            self.require(0 <= getattr(self, name) < 1, name, "at least 0 and below 1")
        self.require(0 < self.label_fraction <= 1, "label_fraction", "above 0 and at most 1")
        low, high = self.crop_scale
        self.require(0 < low <= high <= 1, "crop_scale", "two area shares in (0, 1], the smaller first")
        low, high = self.crop_ratio
        self.require(0 < low <= high, "crop_ratio", "two aspect ratios, the smaller first")
        if self.stored_size < self.image_size or self.shown_size < self.image_size:
            raise ConfigInvalid(f"cache_size and resize_size must be at least image_size ({self.image_size})")
        _require_backbone(self.backbone, self.pretrained)
        _require_method(self)

    @property
    def objective(self) -> Method:
        """What is learnt besides the labels, alpha and label smoothing included."""
        method = method_named(self.method, self.alpha)
        return dataclasses.replace(method, label_smoothing=max(self.label_smoothing, method.label_smoothing))

    def effective(self) -> Self:
        """The same run without the settings that its method makes no use of."""
        method = method_named(self.method)
        unused: dict[str, Any] = {}
        if not method.answer_terms:
            unused = {"alpha": None, "question_count": None, "without_group": None}
        elif not method.aspect_terms and self.alpha != 0:
            unused = {"alpha": None}
        if not method.network_terms:
            unused["network"] = None
        return self.replace(**unused)

    @property
    def stored_size(self) -> int:
        """Short side of the training images in the cache."""
        return self.cache_size if self.cache_size is not None else round(1.15 * self.image_size)

    @property
    def shown_size(self) -> int:
        """Short side of an evaluation image before its middle is cut out."""
        return self.resize_size if self.resize_size is not None else self.image_size


def _require_method(config: StudentConfig) -> None:
    try:
        method = config.objective
    except MethodUnknown as error:
        raise ConfigInvalid(str(error)) from error
    if method.network_terms and config.network is None:
        raise ConfigInvalid(
            f"method '{config.method}' learns from a larger network, but none is given; "
            f"set network to the folder of a finished run (--set network=RUN)"
        )


def _require_backbone(backbone: str, pretrained: bool) -> None:
    if not backbone.startswith(TORCHVISION):
        require_timm(backbone, pretrained)
        return
    name, known = backbone.removeprefix(TORCHVISION), torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise ConfigInvalid(f"torchvision has no backbone '{name}'{did_you_mean(name, known)}")
    if pretrained:
        raise ConfigInvalid(f"backbone '{backbone}' is trained from scratch here; take one of timm's instead")
