"""Settings to start from, by name."""

from __future__ import annotations

from typing import Any

from student.classification.config import GAINED, StudentConfig
from student.core.fit import fit, named_recipe

# The schedule that MaKD and LaViD share.
_PUBLISHED: dict[str, Any] = {
    "backbone": "resnet18",
    "image_size": 224,
    "cache_size": 288,
    "epochs": 240,
    "keep": "best",
    "batch_size": 16,
    "optimizer": "sgd",
    "lr": 0.01,
    "momentum": 0.9,
    "schedule": "multistep",
    "milestones": (150, 180, 210),
    "decay_rate": 0.1,
}

RECIPES: dict[str, dict[str, Any]] = {
    # "Multi-aspect Knowledge Distillation with Large Language Model" (arXiv 2501.13341), except that its best epoch was
    # chosen on the test set and this one is chosen on a tenth of the training images.
    "paper": {**_PUBLISHED, "resize_size": 224, "weight_decay": 1e-4, "method": "makd", "alpha": 4.0},
    # LaViD (arXiv 2606.27527): another weight decay and another view of the test images.
    "lavid": {**_PUBLISHED, "resize_size": 256, "weight_decay": 5e-4, "method": "lavid"},
    # Half a minute on two CPU cores for the few hundred rendered scenes of the demo.
    "demo": {
        "backbone": "resnet10t",
        "image_size": 64,
        "cache_size": 64,
        "epochs": 30,
        "batch_size": 32,
        "optimizer": "adamw",
        "lr": 2e-3,
        "weight_decay": 0.05,
        "schedule": "cosine",
        "warmup": 3,
        "crop_scale": (0.8, 1.0),
        "alpha": 10.0,
        "val_fraction": 0.0,
        "precision": "bf16-mixed",
    },
    # Minutes on two CPU cores for a few thousand small images.
    "small": {
        "backbone": "resnet18",
        "image_size": 64,
        "cache_size": 64,
        "epochs": 30,
        "batch_size": 32,
        "optimizer": "sgd",
        "lr": 0.05,
        "nesterov": True,
        "weight_decay": 5e-4,
        "schedule": "cosine",
        "warmup": 2,
        "crop_scale": (0.35, 1.0),
        "color_jitter": 0.2,
        "precision": "bf16-mixed",
    },
    # Few labels: the last layer of a pretrained backbone, as good as a logistic regression; seconds after the features.
    "probe": {
        "backbone": "resnet50.a1_in1k",
        "pretrained": True,
        "freeze": True,
        "image_size": 224,
        "resize_size": 256,
        "epochs": 50,
        "batch_size": 64,
        "optimizer": "adamw",
        "lr": 3e-3,
        "weight_decay": 1.0,
        "schedule": "cosine",
        "checkpoint_every": 10,
    },
    # A pretrained backbone on images of ordinary size: what most people want on their own folder.
    "finetune": {
        "backbone": "resnet50.a1_in1k",
        "pretrained": True,
        "image_size": 224,
        "resize_size": 256,
        "epochs": 60,
        "batch_size": 64,
        "optimizer": "adamw",
        "lr": 5e-4,
        "weight_decay": 0.05,
        "schedule": "cosine",
        "warmup": 3,
        "crop_scale": (0.25, 1.0),
        "policy": "trivial",
        "label_smoothing": 0.1,
        **GAINED,
        "precision": "bf16-mixed",
    },
}


def recipe(name: str, **changes: Any) -> StudentConfig:
    """The named recipe, fitted to some other settings. Raises ConfigInvalid for a name or setting that does not
    exist."""
    return StudentConfig.from_dict(fit(recipe_settings(name), changes))


def recipe_settings(name: str) -> dict[str, Any]:
    """Return the settings of the named recipe. Raises ConfigInvalid for an unknown name."""
    return named_recipe(RECIPES, name, "recipe")
