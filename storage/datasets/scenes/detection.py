"""The demo's scenes as a detection dataset: several objects in one image, each with a box and a class.

An object's class depends on its colour and its ground: amber is red on grass, yellow in front of a gradient, and so on,
as in `storage/datasets/scenes/classification.py`. Detecting an object is easy; classifying it requires both aspects.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from storage.datasets.base import BOX_MARK, Corners
from storage.datasets.scenes.classification import CLANS, FORM_COLOURS, FORM_KINDS
from storage.datasets.scenes.drawing import object_distance, render
from storage.datasets.scenes.folder import GROUND_TRUTH, filling
from storage.datasets.scenes.scene import OUTLINE, Scene, SceneObject, ground_truth, sample_scene, visible_colours

COUNTS = (2, 3, 4)


def sample_company(rng: np.random.Generator, kind: str) -> Scene:
    """Return a scene with two to four objects on a ground of `kind`, each with a colour that makes it one of CLANS."""
    scene = sample_scene(rng, kind=kind, counts=COUNTS)
    colours = [colour for colour in FORM_COLOURS if colour in visible_colours(scene)]
    objects = [replace(thing, colour=colours[int(rng.integers(len(colours)))]) for thing in scene.objects]
    return replace(scene, objects=tuple(objects))


def clan_of(thing: SceneObject, kind: str) -> str:
    """Return the class of an object: the clan with this colour on this ground."""
    form = FORM_COLOURS.index(thing.colour)
    return CLANS[(FORM_KINDS.index(kind) + form) % len(CLANS)]


def box_of(thing: SceneObject, *, outlined: bool) -> Corners:
    """Return the smallest box around the pixels that the object covers at least half."""
    inside = object_distance(thing) < (OUTLINE if outlined else 0.0)
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def write_detection_scenes(root: Path, *, train: int, test: int, seed: int) -> None:
    """Write `train` and `test` scenes in COCO's layout: `root/train/0000.png`, `root/annotations/instances_train.json`.

    The right answers are in `root/ground_truth.parquet`, like those of `write_scenes`, with box answers under the
    store's box ids; written last. Scenes of an earlier, possibly killed command are removed first. The same arguments
    give the same pixels.
    """
    with filling(root):
        answers: list[dict[str, Any]] = []
        for split_number, (split, count) in enumerate((("train", train), ("test", test))):
            answers += _write_split(root, split, count, (seed, split_number))
        unfinished = root / f".{GROUND_TRUTH}"
        pl.DataFrame(answers).write_parquet(unfinished)
        unfinished.replace(root / GROUND_TRUTH)


def _write_split(root: Path, split: str, count: int, seeds: tuple[int, int]) -> list[dict[str, Any]]:
    """Draw the scenes of a split and write their annotations; return the right answers about images and boxes."""
    (root / split).mkdir(parents=True, exist_ok=True)
    answers: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(count):
        rng = np.random.default_rng((*seeds, number))
        kind = FORM_KINDS[number % len(FORM_KINDS)]
        scene = sample_company(rng, kind)
        image = render(scene, rng)
        file_name = f"{number:04}.png"
        image.save(root / split / file_name)
        images.append({"id": number, "file_name": file_name, "width": image.width, "height": image.height})
        answers.append({"image_id": f"{split}/{file_name}", **ground_truth(scene)})
        for thing in scene.objects:
            annotation = _annotation(len(annotations), number, thing, scene)
            annotations.append(annotation)
            box = f"{split}/{file_name}{BOX_MARK}{annotation['id']}"
            answers.append({"image_id": box, **ground_truth(replace(scene, objects=(thing,)))})
    categories = [{"id": label + 1, "name": clan} for label, clan in enumerate(CLANS)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(document), encoding="utf-8")
    return answers


def _annotation(number: int, image: int, thing: SceneObject, scene: Scene) -> dict[str, Any]:
    left, top, right, bottom = box_of(thing, outlined=scene.outlined)
    width, height = right - left, bottom - top
    return {
        "id": number,
        "image_id": image,
        "category_id": 1 + CLANS.index(clan_of(thing, scene.kind)),
        "bbox": [left, top, width, height],
        "area": width * height,
        "iscrowd": 0,
    }
