"""What is described can be seen in the image."""

from __future__ import annotations

import numpy as np
import pytest

from storage.datasets.scenes.drawing import render
from storage.datasets.scenes.scene import COLOURS, SHAPES, SIZE, TEXTURES, Scene, sample_scene
from tests.storage.datasets.scenes.samples import one_object, one_scene


def rendered(scene: Scene, seed: int = 0) -> np.ndarray:
    return np.asarray(render(scene, np.random.default_rng(seed))).astype(float)


def test_the_same_seed_renders_the_same_pixels() -> None:
    rng = np.random.default_rng(0)
    for scene in (sample_scene(rng) for _ in range(20)):
        image = render(scene, np.random.default_rng(1))
        assert (image.size, image.mode) == ((SIZE, SIZE), "RGB")
        assert image.tobytes() == render(scene, np.random.default_rng(1)).tobytes()
        assert image.tobytes() != render(scene, np.random.default_rng(2)).tobytes()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("colour", COLOURS)
def test_an_object_is_painted_in_its_colour_where_it_lies(shape: str, colour: str) -> None:
    scene = one_scene(one_object(shape=shape, colour=colour))
    painted = rendered(scene)
    close = np.abs(painted / 255 - COLOURS[colour]).max(axis=-1) < 0.15
    rows, columns = np.nonzero(close)
    assert 0.2 < close.sum() / (np.pi * 14**2) < 0.95
    assert np.hypot(columns + 0.5 - 20, rows + 0.5 - 20).max() < 14 * 1.25


def test_shapes_and_textures_look_different() -> None:
    shapes = [rendered(one_scene(one_object(shape=shape))) for shape in SHAPES]
    textures = [rendered(one_scene(one_object(texture=texture, shape="circle"))) for texture in TEXTURES]
    for looks in (shapes, textures):
        for i, one in enumerate(looks):
            assert all((np.abs(one - other).max(axis=-1) > 40).sum() > 30 for other in looks[:i])


@pytest.mark.parametrize(
    "changes",
    [
        *({"weather": "rain"}, {"weather": "snow"}, {"framed": True}, {"shadows": True}, {"outlined": True}),
        *({"kind": kind} for kind in ("gradient", "water", "sand", "bricks", "night", "grass")),
        *({"tone": "dark"}, {"tone": "bright"}, {"hue": "blue"}, {"hue": "green"}, {"horizon": True}),
    ],
    ids=str,
)
def test_everything_asked_about_can_be_seen(changes: dict[str, object]) -> None:
    plain, other = rendered(one_scene()), rendered(one_scene(**changes))
    assert (np.abs(plain - other).max(axis=-1) > 20).sum() > 50
