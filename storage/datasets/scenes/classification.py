"""The demo dataset: scenes whose classes differ in combinations of aspects, as an image folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from storage.datasets.scenes.drawing import render
from storage.datasets.scenes.folder import GROUND_TRUTH, filling
from storage.datasets.scenes.scene import Scene, ground_truth, sample_scene

# A class of the demo dataset is a clan and a number of objects. A clan has four forms, each a colour on a background:
# amber is red on grass, yellow in front of a gradient, blue on a plain ground, purple at night. Every colour and every
# background occurs in every clan: a student must see both, and count the objects.
CLANS = ("amber", "birch", "cedar", "damson")
FORM_COLOURS = ("red", "yellow", "blue", "purple")
FORM_KINDS = ("grass", "night", "plain", "gradient")
COMPANIES = {"single": (1,), "pair": (2,), "group": (3, 4)}
DEMO_CLASSES = tuple((clan, company) for clan in CLANS for company in COMPANIES)


def sample_form(rng: np.random.Generator, clan: str, company: str, form: int) -> Scene:
    """Return a random scene of one class of the demo dataset in its form number 0..3; shapes, patterns, sizes and
    weather are random."""
    kind = FORM_KINDS[(CLANS.index(clan) - form) % len(FORM_KINDS)]
    return sample_scene(rng, colour=FORM_COLOURS[form], kind=kind, counts=COMPANIES[company])


def write_scenes(root: Path, *, train_per_class: int, test_per_class: int, seed: int) -> None:
    """Write an image folder of rendered scenes: `root/split/class/number.png`, classes such as `amber_pair`.

    The right answers are in `root/ground_truth.parquet` (image_id and a bool column per question), which is written
    last: if it exists, everything does. Scenes of an earlier, possibly killed command are removed first. The same
    arguments give the same pixels.
    """
    with filling(root):
        answers = []
        for split_number, (split, count) in enumerate((("train", train_per_class), ("test", test_per_class))):
            for class_number, (clan, company) in enumerate(DEMO_CLASSES):
                folder = root / split / f"{clan}_{company}"
                if count:  # omit splits without images
                    folder.mkdir(parents=True, exist_ok=True)
                for number in range(count):
                    rng = np.random.default_rng((seed, split_number, class_number, number))
                    scene = sample_form(rng, clan, company, number % len(FORM_COLOURS))
                    path = folder / f"{number:04}.png"
                    render(scene, rng).save(path)
                    answers.append({"image_id": path.relative_to(root).as_posix(), **ground_truth(scene)})
        unfinished = root / f".{GROUND_TRUTH}"
        pl.DataFrame(answers).write_parquet(unfinished)
        unfinished.replace(root / GROUND_TRUTH)
