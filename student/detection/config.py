"""Every setting of a detector's training run, and recipes to start from."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from student.core.fit import fit, named_recipe
from student.core.setting_errors import ConfigInvalid
from student.core.settings import Number, TrainingConfig, require_timm

DetectorName = Literal["faster-rcnn", "fcos", "retinanet"]
# What is learned from answers: nothing, those about images, those about boxes, or both.
DetectionMethod = Literal["base", "image", "box", "both"]
Stride = Literal[2, 4, 8, 16, 32]


class DetectorConfig(TrainingConfig):
    """One detector's training run.

    `image_size` is the longer side of what the network sees, in training and afterwards. Its pyramid has a level for
    each resolution of the backbone from `finest_stride` pixels a place on.
    """

    EXECUTION_SETTINGS: ClassVar[frozenset[str]] = TrainingConfig.EXECUTION_SETTINGS | {"watch", "watch_every"}

    detector: DetectorName = Field(default="faster-rcnn", description="torchvision's detector")
    finest_stride: Stride = Field(default=4, description="pixels a place of the pyramid's finest level")
    channels: int = Field(default=256, ge=1, description="channels of the pyramid")
    hidden: int = Field(default=1024, ge=1, description="width of faster-rcnn's box head")
    anchor_scale: Number | None = Field(
        default=None, gt=0, description="width of anchors in strides of their level; null: 8, and 4 for retinanet"
    )
    proposals: int = Field(
        default=1000, ge=1, description="proposals of an image for faster-rcnn's box head; twice as many in training"
    )
    sampled_proposals: int = Field(default=512, ge=1, description="proposals of an image whose losses count")

    method: DetectionMethod = Field(default="box", description="answers that are learned: about images, boxes or both")
    alpha: Number | None = Field(default=1.0, ge=0, description="weight of the aspects of boxes")
    image_alpha: Number = Field(default=1.0, ge=0, description="weight of the aspects of images")
    shuffled: bool = Field(
        default=False, description="control: every box, and every image, gets the answers about another one"
    )
    crop: bool = Field(default=False, description="random crops with at least one box, as for SSD (arXiv 1512.02325)")

    score_threshold: Number = Field(default=0.05, ge=0, le=1, description="lowest score of a box that is found")
    nms_threshold: Number = Field(default=0.5, ge=0, le=1, description="overlap above which the lower score is dropped")
    detections: int = Field(default=100, ge=1, description="boxes of an image, at most")

    watch: str | None = Field(default=None, description="a split whose mAP is measured while training")
    watch_every: int = Field(default=1, ge=1, description="epochs between two such measurements")

    @model_validator(mode="after")
    def _check_detector(self) -> Self:
        if self.detector != "faster-rcnn" and self.channels % 32:
            raise ConfigInvalid(f"channels is {self.channels}; {self.detector} wants a multiple of 32")
        require_timm(self.backbone, self.pretrained)
        return self

    @property
    def box_alpha(self) -> float:
        """Weight of the aspects of boxes; 0 where they are not learned."""
        return (1.0 if self.alpha is None else self.alpha) if self.method in ("box", "both") else 0.0

    @property
    def whole_alpha(self) -> float:
        """Weight of the aspects of whole images; 0 where they are not learned."""
        return self.image_alpha if self.method in ("image", "both") else 0.0

    def effective(self) -> Self:
        unused: dict[str, Any] = {}
        if self.box_alpha == 0:
            unused["alpha"] = None
        if self.whole_alpha == 0:
            unused["image_alpha"] = 0.0
        if self.method == "base":
            unused |= {"question_count": None, "without_group": None, "shuffled": False}
        return self.replace(**unused)


DETECTION_RECIPES: dict[str, dict[str, Any]] = {
    # Minutes on two CPU cores for a few hundred small images.
    "demo": {
        "backbone": "resnet10t",
        "image_size": 64,
        "epochs": 24,
        "batch_size": 8,
        "channels": 64,
        "hidden": 256,
        "anchor_scale": 4.0,
        "proposals": 64,
        "sampled_proposals": 32,
        "alpha": 5.0,
        "optimizer": "adamw",
        "lr": 1e-3,
        "weight_decay": 0.05,
        "warmup": 2,
        "clip_norm": 10.0,
    },
    # Larger images, cropped at random.
    "small": {
        "backbone": "resnet18",
        "image_size": 256,
        "epochs": 50,
        "batch_size": 8,
        "channels": 128,
        "hidden": 512,
        "anchor_scale": 6.0,
        "proposals": 200,
        "sampled_proposals": 128,
        "optimizer": "adamw",
        "lr": 5e-4,
        "weight_decay": 0.05,
        "warmup": 2,
        "clip_norm": 10.0,
        "color_jitter": 0.2,
        "crop": True,
    },
    # A pretrained backbone on images of ordinary size, by torchvision's settings: for a GPU.
    "finetune": {
        "backbone": "resnet50.a1_in1k",
        "pretrained": True,
        "image_size": 800,
        "epochs": 24,
        "batch_size": 16,
        "optimizer": "adamw",
        "lr": 1e-4,
        "weight_decay": 0.05,
        "schedule": "multistep",
        "milestones": (16, 22),
        "warmup": 1,
        "clip_norm": 10.0,
        "color_jitter": 0.2,
    },
}


def detection_recipe(name: str, **changes: Any) -> DetectorConfig:
    """The named recipe, fitted to some other settings. Raises ConfigInvalid for a name or setting that does not
    exist."""
    return DetectorConfig.from_dict(fit(detection_recipe_settings(name), changes))


def detection_recipe_settings(name: str) -> dict[str, Any]:
    """Return the settings of the named recipe. Raises ConfigInvalid for an unknown name."""
    return named_recipe(DETECTION_RECIPES, name, "detection recipe")
