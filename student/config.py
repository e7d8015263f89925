"""Every setting of a training run, refused at the door where it makes no sense, and recipes to start from."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import timm
import torch
import torchvision

from student.methods import Method, MethodUnknown, method_named

Optimizer = Literal["sgd", "adamw"]
Schedule = Literal["cosine", "multistep", "poly", "tanh"]
Precision = Literal["32-true", "bf16-mixed"]
Accelerator = Literal["cpu", "cuda", "mps"]
Policy = Literal["trivial", "rand"]
Treatment = Literal["refuse", "drop"]
Keep = Literal["last", "best"]

# How a run is computed and saved, not what it learns: a run may be resumed with other values of these.
NOT_LEARNED = frozenset({"accelerator", "devices", "threads", "checkpoint_every", "network"})


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


class ConfigInvalid(ValueError):
    """A setting cannot be used; the message says which, why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentConfig:
    """One training run. Sizes are in pixels, `warmup` and `milestones` in epochs, `batch_size` is over all devices.

    Training photos are kept with their short side at `cache_size` and cropped at random; evaluation resizes the short
    side to `resize_size` and cuts the middle `image_size` square. The seed decides the initialisation, the validation
    split, the order of the images and every random crop.
    """

    backbone: str
    image_size: int
    epochs: int
    cache_size: int | None = None  # None: 1.15 x image_size
    resize_size: int | None = None  # None: image_size
    pretrained: bool = False
    seed: int = 0

    method: str = "recommended"  # what is learnt besides the labels; student/methods.py has the table
    alpha: float | None = None  # weight of the aspects; None: the method's own, 0: nothing is learnt from answers
    network: str | None = None  # folder of a finished run whose network kd, dkd and their like learn from
    question_count: int | None = None  # of all questions, so many drawn by the seed; None: all
    without_group: str | None = None  # a group of questions that is left out
    missing_answers: Treatment = "refuse"
    damaged_images: Treatment = "refuse"
    val_fraction: float = 0.1  # of the training split
    keep: Keep = "last"  # whose weights: the last epoch's, or those of the best one by validation, if there is any
    train_fraction: float = 1.0  # of each class's training images, drawn by the seed
    label_fraction: float = 1.0  # of them, whose label is known; of the others only the answers are

    batch_size: int = 64
    optimizer: Optimizer = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    drop_rate: float = 0.0
    schedule: Schedule = "cosine"
    warmup: int = 0
    milestones: tuple[int, ...] = ()
    decay_rate: float = 0.1

    crop_scale: tuple[float, float] = (0.08, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    color_jitter: float = 0.0
    policy: Policy | None = None
    mixup: float = 0.0  # of Beta(mixup, mixup), the share of another image that is blended in; 0: none
    cutmix: float = 0.0  # of Beta(cutmix, cutmix), the area of another image that is pasted in; 0: none

    accelerator: Accelerator = "cpu"
    devices: int = 1
    precision: Precision = "32-true"
    threads: int | None = None  # of each CPU process; None leaves torch's own choice
    checkpoint_every: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "backbone", STUDENTS.get(self.backbone, self.backbone))
        for name, values in CHOICES.items():
            value = getattr(self, name)
            if value not in values and not (name == "policy" and value is None):
                raise ConfigInvalid(f"{name} {value!r} is unknown; use one of {', '.join(map(repr, values))}")
        for name in ("image_size", "epochs", "batch_size", "devices", "checkpoint_every"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("weight_decay", "warmup", "color_jitter", "seed", "mixup", "cutmix"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")
        for name in ("val_fraction", "label_smoothing", "drop_rate", "momentum"):
            _require(0 <= getattr(self, name) < 1, name, getattr(self, name), "at least 0 and below 1")
        _require(self.lr > 0, "lr", self.lr, "above 0")
        for name in ("train_fraction", "label_fraction"):
            _require(0 < getattr(self, name) <= 1, name, getattr(self, name), "above 0 and at most 1")
        _require(self.alpha is None or self.alpha >= 0, "alpha", self.alpha, "at least 0")
        count = self.question_count
        _require(count is None or count >= 1, "question_count", count, "at least 1")
        _require(0 <= self.flip <= 1, "flip", self.flip, "between 0 and 1")
        _require(self.color_jitter <= 1, "color_jitter", self.color_jitter, "at most 1")
        _require(self.warmup < self.epochs, "warmup", self.warmup, f"below epochs ({self.epochs})")
        low, high = self.crop_scale
        _require(0 < low <= high <= 1, "crop_scale", self.crop_scale, "two area shares in (0, 1], the smaller first")
        low, high = self.crop_ratio
        _require(0 < low <= high, "crop_ratio", self.crop_ratio, "two aspect ratios, the smaller first")
        if self.schedule == "multistep" and not self.milestones:
            raise ConfigInvalid("schedule 'multistep' has no milestones; set them, e.g. milestones=(150, 180, 210)")
        if self.batch_size % self.devices:
            raise ConfigInvalid(f"batch_size {self.batch_size} does not divide among {self.devices} devices")
        if self.stored_size < self.image_size or self.shown_size < self.image_size:
            raise ConfigInvalid(f"cache_size and resize_size must be at least image_size ({self.image_size})")
        _require_backbone(self.backbone, self.pretrained)
        _require_method(self)

    @property
    def objective(self) -> Method:
        """What is learnt besides the labels, alpha and label smoothing included."""
        method = method_named(self.method, self.alpha)
        return dataclasses.replace(method, label_smoothing=max(self.label_smoothing, method.label_smoothing))

    def effective(self) -> StudentConfig:
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
        """Short side of the training photos in the cache."""
        return self.cache_size if self.cache_size is not None else round(1.15 * self.image_size)

    @property
    def shown_size(self) -> int:
        """Short side of an evaluation photo before its middle is cut out."""
        return self.resize_size if self.resize_size is not None else self.image_size

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` reads them back."""
        values = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> StudentConfig:
        """The config of a mapping, e.g. parsed JSON or YAML. Raises ConfigInvalid for a name that does not exist."""
        known = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                raise ConfigInvalid(f"student setting '{name}' is unknown{_did_you_mean(name, known)}")
        for name in ("backbone", "image_size", "epochs"):
            if name not in values:
                raise ConfigInvalid(f"student setting '{name}' is missing; set it or start from a recipe")
        plain: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in values.items()}
        return cls(**plain)

    def learned(self) -> dict[str, Any]:
        """The settings that decide what is learned; two runs that agree on them are the same run."""
        return {name: value for name, value in self.to_dict().items() if name not in NOT_LEARNED}

    def replace(self, **changes: Any) -> StudentConfig:
        return StudentConfig.from_dict(self.to_dict() | changes)


CHOICES: dict[str, tuple[str, ...]] = {
    "optimizer": get_args(Optimizer),
    "schedule": get_args(Schedule),
    "precision": get_args(Precision),
    "accelerator": get_args(Accelerator),
    "policy": get_args(Policy),
    "keep": get_args(Keep),
    "missing_answers": get_args(Treatment),
    "damaged_images": get_args(Treatment),
}


def present_accelerator() -> Accelerator:
    """What this machine has: "cuda", "mps" or "cpu"."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _require(holds: bool, name: str, value: object, wanted: str) -> None:
    if not holds:
        raise ConfigInvalid(f"{name} is {value}; it must be {wanted}")


def _require_method(config: StudentConfig) -> None:
    try:
        method = config.objective
    except MethodUnknown as error:
        raise ConfigInvalid(str(error)) from error
    if method.network_terms and config.network is None:
        raise ConfigInvalid(
            f"method '{config.method}' learns from a larger network, but none is given; "
            f"set network to the folder of a finished run"
        )


def _require_backbone(backbone: str, pretrained: bool) -> None:
    if backbone.startswith(TORCHVISION):
        _require_torchvision(backbone.removeprefix(TORCHVISION), pretrained)
        return
    if not timm.is_model(backbone):
        raise ConfigInvalid(f"timm has no backbone '{backbone}'{_did_you_mean(backbone, timm.list_models())}")
    architecture, _, tag = backbone.partition(".")
    if tag and backbone not in (tags := timm.list_pretrained(f"{architecture}.*")):
        raise ConfigInvalid(f"timm has no weights '{tag}' of '{architecture}'{_did_you_mean(backbone, tags)}")
    if pretrained and not timm.models.is_model_pretrained(backbone):
        tags = timm.list_pretrained(f"{backbone}.*")
        hint = f"; take one of {', '.join(tags[:3])}" if tags else "; set pretrained to false"
        raise ConfigInvalid(f"backbone '{backbone}' has no pretrained weights{hint}")


def _require_torchvision(name: str, pretrained: bool) -> None:
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise ConfigInvalid(f"torchvision has no backbone '{name}'{_did_you_mean(name, known)}")
    if pretrained:
        raise ConfigInvalid(f"backbone '{TORCHVISION}{name}' is trained from scratch here; take one of timm's instead")


def _did_you_mean(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"; did you mean {', '.join(close)}?" if close else ""
