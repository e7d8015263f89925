"""Rendered scenes as arrays: pixels, right answers, and the object under every patch."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

from storage.datasets.scenes.drawing import render
from storage.datasets.scenes.scene import COLOURS, SHAPES, SIZE, SIZES, TEXTURES, Scene, ground_truth, sample_scene
from teacher.tiny.architecture import PATCH_SIZE

CHUNK = 500
PATCH_NAMES = {"shape": SHAPES, "colour": tuple(COLOURS), "texture": TEXTURES, "size": tuple(SIZES)}
PATCH_LABELS = tuple(PATCH_NAMES)  # label 0 means no object


@dataclass(frozen=True)
class World:
    """N scenes: `pixels` [N, 64, 64, 3] uint8, `truth` [N, Q] bool in the order of `ground_truth`, `patches`
    [N, 64, 4] uint8 (shape, colour, texture, size of the object under each patch; 0 is background)."""

    pixels: np.ndarray
    truth: np.ndarray
    patches: np.ndarray


def render_world(count: int, *, seed: int, workers: int = 1) -> World:
    """Render `count` random scenes. The same seed gives the same scenes with any number of workers."""
    sizes = [min(CHUNK, count - start) for start in range(0, count, CHUNK)]
    seeds = [(seed, number) for number in range(len(sizes))]
    if workers == 1:
        parts = [_render_chunk(size, chunk_seed) for size, chunk_seed in zip(sizes, seeds, strict=True)]
    else:
        with ProcessPoolExecutor(workers) as pool:
            parts = list(pool.map(_render_chunk, sizes, seeds))
    return World(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _render_chunk(size: int, seed: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scenes = [sample_scene(rng) for _ in range(size)]
    pixels = np.stack([np.asarray(render(scene, rng)) for scene in scenes])
    truth = np.array([list(ground_truth(scene).values()) for scene in scenes])
    return pixels, truth, np.stack([_under_patches(scene) for scene in scenes])


def _under_patches(scene: Scene) -> np.ndarray:
    """Return the labels of each patch [64, 4], row by row: of the object whose disc covers its centre."""
    axis = np.arange(PATCH_SIZE / 2, SIZE, PATCH_SIZE)
    x, y = (grid.ravel() for grid in np.meshgrid(axis, axis))
    labels = np.zeros((len(x), len(PATCH_LABELS)), dtype=np.uint8)
    for thing in scene.objects:
        inside = np.hypot(x - thing.x, y - thing.y) < thing.radius
        labels[inside] = [1 + PATCH_NAMES[name].index(getattr(thing, name)) for name in PATCH_LABELS]
    return labels
