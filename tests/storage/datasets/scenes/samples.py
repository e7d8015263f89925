"""Scenes that tests of the renderer describe."""

from __future__ import annotations

from dataclasses import replace

from storage.datasets.scenes.scene import Scene, SceneObject


def one_object(**changes: object) -> SceneObject:
    thing = SceneObject(
        shape="star", colour="red", texture="solid", size="large", radius=14.0, x=20.0, y=20.0, angle=0.0
    )
    return replace(thing, **changes)  # type: ignore[arg-type]


def one_scene(*objects: SceneObject, **changes: object) -> Scene:
    scene = Scene(
        objects=objects or (one_object(),),
        kind="plain",
        tone="medium",
        hue="grey",
        horizon=False,
        weather="dry",
        framed=False,
        shadows=False,
        outlined=False,
    )
    return replace(scene, **changes)  # type: ignore[arg-type]
