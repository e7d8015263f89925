"""Fit a recipe to the settings that replace some of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

from student.core.setting_errors import ConfigInvalid


def fit(recipe: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `recipe` with those `given` in their place.

    Of the recipe's own: a warm-up as long as all epochs is cut to half of them; milestones that are not reached move
    with the epochs; images are kept as large as they are shown, and of test images the same part is shown at every
    size; validation images are held out where keep=best or patience is given, which need them; a batch is rounded up to
    what the devices can share; Nesterov's momentum needs a momentum; given weights replace pretrained ones. Settings of
    wrong types are left for the config to refuse. Raises ConfigInvalid for given milestones that are all beyond the
    epochs.
    """
    fitted = {**recipe, **given}
    epochs = fitted.get("epochs")
    if _is_count(epochs):
        _fit_epochs(fitted, recipe, given, epochs)
    size = fitted.get("image_size")
    if _is_count(size):
        for name in {"cache_size", "resize_size"} & recipe.keys() - given.keys():
            if name == "resize_size" or recipe[name] < size:
                fitted[name] = round(recipe[name] * size / recipe["image_size"])
    needs_validation = given.get("keep") == "best" or given.get("patience") is not None
    if needs_validation and recipe.get("val_fraction") == 0 and "val_fraction" not in given:
        fitted["val_fraction"] = None
    devices, batch = fitted.get("devices"), recipe.get("batch_size")
    if _is_count(devices) and _is_count(batch) and "batch_size" not in given:
        fitted["batch_size"] = math.ceil(batch / devices) * devices
    if fitted.get("momentum") == 0 and "nesterov" not in given:
        fitted["nesterov"] = False
    if given.get("weights") is not None and "pretrained" not in given:
        fitted["pretrained"] = False
    return fitted


def named_recipe(recipes: Mapping[str, dict[str, Any]], name: str, what: str) -> dict[str, Any]:
    """Return the settings of a recipe. Raises ConfigInvalid for an unknown name; `what` is its kind, for the
    message."""
    if name not in recipes:
        raise ConfigInvalid(f"{what} '{name}' is unknown; use one of {', '.join(recipes)}")
    return recipes[name]


def _fit_epochs(fitted: dict[str, Any], recipe: Mapping[str, Any], given: Mapping[str, Any], epochs: int) -> None:
    if "warmup" not in given and recipe.get("warmup", 0) >= epochs:
        fitted["warmup"] = epochs // 2
    milestones = fitted.get("milestones")
    if not isinstance(milestones, (list, tuple)) or not milestones or not all(_is_count(one) for one in milestones):
        return
    if "milestones" not in given and max(milestones) >= epochs:
        moved = {round(one * epochs / recipe["epochs"]) for one in milestones}
        fitted["milestones"] = tuple(sorted({max(1, min(one, epochs - 1)) for one in moved}))
    elif fitted.get("schedule") == "multistep" and min(milestones) >= max(epochs, 2):
        raise ConfigInvalid(f"milestones is {list(milestones)}, all beyond the {epochs} epochs; set lower ones")


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
