"""Scenes whose background colour predicts the class in training and not in test, as an image folder.

The class is the number of objects. In training most images of a class have the ground of one colour, so that a student
can learn the colour instead, as in Waterbirds (Sagawa et al., ICLR 2020). In test both colours are equally frequent in
each class. The groups are class x `is_bluish`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from storage.datasets.scenes.drawing import render
from storage.datasets.scenes.folder import GROUND_TRUTH, filling
from storage.datasets.scenes.scene import ground_truth, sample_scene

# Classes and their numbers of objects, and the colour that goes with each in training. Water is blue, grass is green,
# and plain grounds and gradients have either colour.
SPURIOUS_CLASSES = {"few_objects": (1, 2), "many_objects": (3, 4)}
CLASS_HUES = ("blue", "green")
EVEN = 0.5  # share of each colour in the test images of a class


def write_spurious_scenes(root: Path, *, train_per_class: int, test_per_class: int, share: float, seed: int) -> None:
    """Write an image folder like `write_scenes`; `share` of the training images of a class have its colour, rounded to
    a whole number of images, the others that of the other class."""
    with filling(root):
        answers = []
        for split_number, (split, count) in enumerate((("train", train_per_class), ("test", test_per_class))):
            own = round((share if split == "train" else EVEN) * count)
            for class_number, (class_name, counts) in enumerate(SPURIOUS_CLASSES.items()):
                folder = root / split / class_name
                if count:  # omit splits without images
                    folder.mkdir(parents=True, exist_ok=True)
                for number in range(count):
                    rng = np.random.default_rng((seed, split_number, class_number, number))
                    hue = CLASS_HUES[class_number if number < own else 1 - class_number]
                    scene = sample_scene(rng, hue=hue, counts=counts)
                    path = folder / f"{number:04}.png"
                    render(scene, rng).save(path)
                    answers.append({"image_id": path.relative_to(root).as_posix(), **ground_truth(scene)})
        unfinished = root / f".{GROUND_TRUTH}"
        pl.DataFrame(answers).write_parquet(unfinished)
        unfinished.replace(root / GROUND_TRUTH)
