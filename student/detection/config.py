"""Every setting of a detector's training run, and recipes to start from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, get_args

from student.core.fit import fit
from student.core.settings import ConfigInvalid, TrainingConfig, require_timm

DetectorName = Literal["faster-rcnn", "fcos", "retinanet"]
# What is learnt from answers: nothing, those about images, those about boxes, or both.
DetectionMethod = Literal["base", "image", "box", "both"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorConfig(TrainingConfig):
    """One detector's training run.

    `image_size` is the longer side of what the network sees, in training and afterwards. Its pyramid has a level for
    each resolution of the backbone from `finest_stride` pixels a place on. Anchors are `anchor_scale` times their
    level's stride wide; None leaves torchvision's own (8, and 4 for retinanet). Weights of the aspects in the loss are
    `alpha` for boxes and `image_alpha` for images.
    """

    EXECUTION_SETTINGS: ClassVar[frozenset[str]] = TrainingConfig.EXECUTION_SETTINGS | {"watch", "watch_every"}
    CHOICES: ClassVar[Mapping[str, Sequence[str | None]]] = {
        **TrainingConfig.CHOICES,
        "detector": get_args(DetectorName),
        "method": get_args(DetectionMethod),
    }

    detector: DetectorName = "faster-rcnn"
    finest_stride: int = 4
    channels: int = 256  # of the pyramid
    hidden: int = 1024  # of faster-rcnn's box head
    anchor_scale: float | None = None
    proposals: int = 1000  # of an image that faster-rcnn's box head looks at; twice as many while it is trained
    sampled_proposals: int = 512  # of them, those whose losses count

    method: DetectionMethod = "box"
    alpha: float | None = 1.0
    image_alpha: float = 1.0
    shuffled: bool = False  # control: every box, and every image, gets the answers about another one
    crop: bool = False  # random parts of the image with at least one box in them, as SSD is trained (arXiv 1512.02325)

    score_threshold: float = 0.05
    nms_threshold: float = 0.5
    detections: int = 100  # of an image, at most

    watch: str | None = None  # a split whose mAP is measured while training
    watch_every: int = 1  # epochs

    def __post_init__(self) -> None:
        TrainingConfig.__post_init__(self)
        for name in ("channels", "hidden", "proposals", "sampled_proposals", "detections", "watch_every"):
            self.require(getattr(self, name) >= 1, name, "at least 1")
        for name in ("score_threshold", "nms_threshold"):
            self.require(0 <= getattr(self, name) <= 1, name, "between 0 and 1")
        self.require(self.image_alpha >= 0, "image_alpha", "at least 0")
        self.require(self.anchor_scale is None or self.anchor_scale > 0, "anchor_scale", "above 0")
        self.require(self.finest_stride in (2, 4, 8, 16, 32), "finest_stride", "2, 4, 8, 16 or 32")
        if self.detector != "faster-rcnn" and self.channels % 32:
            raise ConfigInvalid(f"channels is {self.channels}; {self.detector} wants a multiple of 32")
        require_timm(self.backbone, self.pretrained)

    @property
    def box_alpha(self) -> float:
        """Weight of the aspects of boxes; 0 where they are not learnt."""
        return (1.0 if self.alpha is None else self.alpha) if self.method in ("box", "both") else 0.0

    @property
    def whole_alpha(self) -> float:
        """Weight of the aspects of whole images; 0 where they are not learnt."""
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
    """The settings that the named recipe makes. Raises ConfigInvalid for a name that does not exist."""
    if name not in DETECTION_RECIPES:
        raise ConfigInvalid(f"detection recipe '{name}' is unknown; use one of {', '.join(DETECTION_RECIPES)}")
    return DETECTION_RECIPES[name]
