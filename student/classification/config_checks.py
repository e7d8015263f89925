"""Checks of settings of a classifier that do not go together. All raise ConfigInvalid."""

from __future__ import annotations

from typing import TYPE_CHECKING

from student.core.setting_errors import ConfigInvalid

if TYPE_CHECKING:
    from student.classification.config import StudentConfig


def require_label_free(config: StudentConfig) -> None:
    """Raises ConfigInvalid for settings that need labels."""
    if not config.objective.uses_class_answers:
        raise ConfigInvalid(
            f"labels_per_class is 0, and method '{config.method}' learns the classes from labels; take method "
            "recommended, which learns them from answers about the classes"
        )
    if config.keep == "best" or config.patience is not None:
        raise ConfigInvalid(
            "keep=best and patience need validation images with a label, and labels_per_class is 0; "
            "give --set keep=last --set patience=null"
        )


def require_freezable(config: StudentConfig) -> None:
    for name in ("mixup", "cutmix"):
        if getattr(config, name):
            raise ConfigInvalid(f"{name} mixes pixels, and freeze trains on features; give --set {name}=0")
    if config.devices > 1:
        raise ConfigInvalid(f"freeze trains on one device, and devices is {config.devices}; give --set devices=1")


def require_compilable(config: StudentConfig) -> None:
    method = config.objective
    if config.freeze:
        raise ConfigInvalid("compile is for training the backbone, which freeze does not; give --set compile=false")
    if method.inner or method.head == "dual":
        where, instead = ("at inner stages", "inner_stages") if method.inner else ("by a head of their own", "compile")
        raise ConfigInvalid(
            f"method '{config.method}' learns {where}, which torch.compile would leave out; "
            f"give --set {instead}=false, or take method makd or base"
        )


def require_balance(config: StudentConfig) -> None:
    """Raises ConfigInvalid for settings that weigh or mix images beside `balance`."""
    for name, default in {"class_weights": None, "sampler": "uniform", "mixup": 0, "cutmix": 0}.items():
        if getattr(config, name) != default:
            value = "null" if default is None else default
            raise ConfigInvalid(f"balance weighs images by their groups, and {name} is set; give --set {name}={value}")


def require_views(config: StudentConfig) -> None:
    """Raises ConfigInvalid where there are no two views of an image to compare."""
    for name in ("mixup", "cutmix"):
        if getattr(config, name):
            raise ConfigInvalid(f"{name} mixes images, and method '{config.method}' compares views of one; give 0")
    if config.freeze and (config.views < 2 or config.policy is None):
        raise ConfigInvalid(
            f"method '{config.method}' compares views of an image, and freeze computes the evaluation's alone; "
            f"give --set views=4 --set policy=rand"
        )
