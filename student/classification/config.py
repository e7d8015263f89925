"""The settings of a classifier's training run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import torchvision
from pydantic import BeforeValidator, Field, field_validator, model_validator

from student.classification.config_checks import (
    require_balance,
    require_compilable,
    require_freezable,
    require_label_free,
    require_views,
)
from student.classification.methods import MethodUnknown, last_layer_method, method_named, twin_of
from student.classification.terms import Method
from student.core.setting_errors import ConfigInvalid
from student.core.settings import Number, TrainingConfig, did_you_mean, require_timm

Policy = Literal["trivial", "rand"]
Keep = Literal["last", "best"]
ClassWeights = Literal["balanced"]
Sampler = Literal["uniform", "balanced"]
Questions = Annotated[
    tuple[str, ...], Field(min_length=1), BeforeValidator(lambda given: (given,) if isinstance(given, str) else given)
]

VAL_FRACTION = 0.1  # where validation images are needed and no share of them is given
# Settings that the recipe `finetune` has gained since release 0.1.0.
GAINED = {"layer_decay": 0.9, "ema": 0.998, "selective_decay": True, "probe_epochs": 50}
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


class StudentConfig(TrainingConfig):
    """One classifier's training run.

    Training images are kept with their short side at `cache_size` and cropped at random; evaluation resizes the short
    side to `resize_size` and cuts the middle `image_size` square. The seed also decides the validation split.
    """

    # Of the network and of the file of weights their digests count, not their places.
    EXECUTION_SETTINGS: ClassVar[frozenset[str]] = TrainingConfig.EXECUTION_SETTINGS | {"network", "weights", "compile"}
    METHOD: ClassVar[str] = "recommended"

    cache_size: int | None = Field(
        default=None, description="short side of the decoded training images; null: 1.15 x image_size"
    )
    draft: bool = Field(
        default=False,
        description="decode large JPEGs of the training images at 1/2, 1/4 or 1/8, at least twice cache_size",
    )
    resize_size: int | None = Field(
        default=None, description="short side in evaluation, before the middle is cut out; null: image_size"
    )

    weights: str | None = Field(
        default=None,
        description="file of pretrained weights, .safetensors, .pth or .pt, or hf-hub:OWNER/NAME; null: none",
    )
    freeze: bool = Field(
        default=False, description="train the last layers alone, on features that are computed once (a linear probe)"
    )
    probe_epochs: int = Field(
        default=0,
        ge=0,
        description="epochs in which the last layers alone learn, on features of a pretrained backbone, before all do; "
        "batch normalisation then keeps its mean and variance",
    )
    views: int = Field(default=1, ge=1, description="views of each image that freeze computes; one is unaugmented")
    hidden: int | None = Field(
        default=None, ge=1, description="width of a hidden layer between features and outputs; null: none"
    )

    method: str = Field(default=METHOD, description="what is learned besides the labels, e.g. makd or lskd+lavid")
    inner_stages: bool | None = Field(
        default=None, description="learn at inner stages what the method does; null: not on a pretrained backbone"
    )
    network: str | None = Field(
        default=None, description="folder of a finished run whose network kd, dkd and similar methods learn from"
    )
    val_fraction: Number | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="share of the training split for validation; null: 0.1 if keep=best or patience needs it, else 0",
    )
    keep: Keep = Field(
        default="last", description="whose weights are kept: the last epoch's, or the best by validation"
    )
    patience: int | None = Field(
        default=None, ge=1, description="epochs without a better validation top-1 after which training ends; null: all"
    )
    class_weights: ClassWeights | None = Field(
        default=None, description="balanced: each class weighs the same in the labels' loss, however few its images"
    )
    sampler: Sampler = Field(
        default="uniform",
        description="uniform: each image once an epoch; balanced: each class equally often, with replacement",
    )
    balance: Questions | None = Field(
        default=None,
        description="key or text of a question, or a list of them: the labels' loss balances the groups class x answer",
    )
    layer_decay: Number | None = Field(
        default=None, gt=0, le=1, description="factor of the learning rate from each layer to the one below; null: 1"
    )
    compile: bool = Field(default=False, description="train by torch.compile")
    label_fraction: Number = Field(
        default=1.0, gt=0, le=1, description="share of the training images with a label; of the others only the answers"
    )
    labels_per_class: int | None = Field(
        default=None,
        ge=0,
        description="training images of each class with a label, drawn by the seed; of the others only the answers; "
        "0: classes are learned by answers about them; null: by label_fraction",
    )
    label_smoothing: Number = Field(default=0.0, ge=0, lt=1, description="of the labels (arXiv 1512.00567)")
    drop_rate: Number = Field(default=0.0, ge=0, lt=1, description="dropout before the last layer")

    crop_scale: tuple[Number, Number] = Field(default=(0.08, 1.0), description="smallest and largest area of a crop")
    crop_ratio: tuple[Number, Number] = Field(
        default=(3 / 4, 4 / 3), description="smallest and largest aspect ratio of a crop"
    )
    policy: Policy | None = Field(default=None, description="TrivialAugment (trivial), RandAugment (rand) or null")
    mixup: Number = Field(
        default=0.0, ge=0, description="of Beta(mixup, mixup), the share of another image that is blended in; 0: none"
    )
    cutmix: Number = Field(
        default=0.0, ge=0, description="of Beta(cutmix, cutmix), the area of another image that is pasted in; 0: none"
    )

    @field_validator("backbone")
    @classmethod
    def _resolve(cls, backbone: str) -> str:
        return STUDENTS.get(backbone, backbone)

    @model_validator(mode="after")
    def _check_classifier(self) -> Self:
        low, high = self.crop_scale
        if not 0 < low <= high <= 1:
            raise ConfigInvalid(
                f"crop_scale is {self.crop_scale}; it must be two area shares in (0, 1], the smaller first"
            )
        low, high = self.crop_ratio
        if not 0 < low <= high:
            raise ConfigInvalid(f"crop_ratio is {self.crop_ratio}; it must be two aspect ratios, the smaller first")
        if self.stored_size < self.image_size or self.shown_size < self.image_size:
            raise ConfigInvalid(f"cache_size and resize_size must be at least image_size ({self.image_size})")
        _require_backbone(self)
        if self.freeze:
            require_freezable(self)
        if self.patience is not None and self.val_fraction == 0:
            raise ConfigInvalid("patience needs validation images, and val_fraction is 0; give --set val_fraction=0.1")
        if self.class_weights == self.sampler == "balanced":
            raise ConfigInvalid("class_weights and sampler both balance the classes; give --set sampler=uniform")
        if self.balance is not None:
            require_balance(self)
        _require_method(self)
        if self.compile:
            require_compilable(self)
        return self

    @property
    def objective(self) -> Method:
        """What is learned besides the labels, alpha and label smoothing included."""
        method = method_named(self.method, self.alpha)
        if not self.learns_at_inner_stages:
            method = method.at_last_layer()
        return dataclasses.replace(method, label_smoothing=max(self.label_smoothing, method.label_smoothing))

    def effective(self) -> Self:
        """The same run without the settings that its method makes no use of, and by the simplest method that trains the
        same."""
        unused: dict[str, Any] = {} if self.learns_at_inner_stages else {"method": last_layer_method(self.method)}
        method = method_named(unused.get("method", self.method))
        if self.freeze or not method.inner:
            unused["inner_stages"] = None
        if not method.answer_terms:
            unused |= {"alpha": None, "question_count": None, "without_group": None}
        elif not method.aspect_terms and self.alpha != 0:
            unused["alpha"] = None
        if not method.network_terms:
            unused["network"] = None
        if not self.freeze:
            unused["views"] = 1
        if not self.starts_by_probe:
            unused["probe_epochs"] = 0
        return self.replace(**unused)

    def resumed_as(self, begun: Self) -> Self:
        """With its validation images, 0.1 in older releases where nothing was given, with its inner stages, and without
        what the recipes have gained since a release that did not have these settings."""
        gained = {
            name: getattr(begun, name)
            for name, value in GAINED.items()
            if name not in begun.model_fields_set and getattr(self, name) == value
        }
        open_settings = [name for name in ("val_fraction", "inner_stages") if getattr(self, name) is None]
        return self.replace(**gained, **{name: getattr(begun, name) for name in open_settings})

    @classmethod
    def from_stored(cls, values: object) -> Self:
        """The config in a run folder; older releases learned at inner stages of pretrained backbones too."""
        return super().from_stored({"inner_stages": True, **values} if isinstance(values, Mapping) else values)

    @property
    def learns_at_inner_stages(self) -> bool:
        """Whether the terms of methods at inner stages are trained."""
        return not self.freeze and (not self.starts_pretrained if self.inner_stages is None else self.inner_stages)

    @property
    def twin(self) -> str | None:
        """The method without answers that this one is compared with, see `twin_of`."""
        return twin_of(self.method, inner_stages=self.learns_at_inner_stages)

    @property
    def uses_answers(self) -> bool:
        return bool(self.objective.answer_terms) or self.balance is not None

    @property
    def held_out(self) -> float:
        """The share of the training images that is held out for validation."""
        if self.labels_per_class == 0:
            return 0.0
        if self.val_fraction is not None:
            return self.val_fraction
        return VAL_FRACTION if self.keep == "best" or self.patience is not None else 0.0

    def untrained(self) -> Self:
        """The same network without pretrained weights, for those of a run to be loaded into."""
        return self.replace(pretrained=False, weights=None, inner_stages=self.learns_at_inner_stages)

    @property
    def starts_pretrained(self) -> bool:
        """Whether the backbone starts from pretrained weights."""
        return self.pretrained or self.weights is not None

    @property
    def starts_by_probe(self) -> bool:
        """Whether the last layers learn before the backbone does."""
        return self.probe_epochs > 0 and self.starts_pretrained and not self.freeze

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
    if config.labels_per_class is not None and config.label_fraction != 1:
        raise ConfigInvalid("labels_per_class and label_fraction are both given; leave one out")
    if config.labels_per_class == 0:
        require_label_free(config)
    if method.consistency_terms:
        require_views(config)
    if method.network_terms and config.network is None:
        raise ConfigInvalid(
            f"method '{config.method}' learns from a KD teacher, but none is given; "
            f"set network to the folder of a finished run (--set network=RUN)"
        )


def _require_backbone(config: StudentConfig) -> None:
    if config.pretrained and config.weights is not None:
        raise ConfigInvalid("pretrained and weights are both given; give --set pretrained=false, or leave weights out")
    backbone = config.backbone
    if not backbone.startswith(TORCHVISION):
        require_timm(backbone, config.pretrained)
        return
    name, known = backbone.removeprefix(TORCHVISION), torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise ConfigInvalid(f"torchvision has no backbone '{name}'{did_you_mean(name, known)}")
    if config.pretrained or config.weights is not None:
        raise ConfigInvalid(f"backbone '{backbone}' is trained from scratch here; take one of timm's instead")
    for name in ("freeze", "hidden", "layer_decay"):
        if getattr(config, name):
            raise ConfigInvalid(f"{name} needs a backbone of timm, and '{backbone}' is torchvision's; take another one")
