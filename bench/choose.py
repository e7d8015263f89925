"""Choose the method `recommended`: methods in pairs of one seed, on images held out of the training images.

A quarter of the training images of each class is held out, and no test image is looked at. Prints a line of JSON for
each method: top-1 on the held-out images in percent, and what it gains over MaKD (LaViD where the answers are about the
classes) and over its twin. With the same --run-dir it resumes.

    python bench/choose.py --backbone resnet10t --image-size 32 --epochs 16 --run-dir runs/choose --threads 1
    python bench/choose.py --dataset caltech --backbone resnet10t --image-size 32 --epochs 8 --run-dir runs/choose-2
"""

from __future__ import annotations

import argparse
import json

from bench.arguments import run_benchmark
from bench.caltech import read_caltech
from bench.data import read_flowers
from bench.flowers import RECIPE, describe, gains, grid_of, options, top1
from storage.datasets import FileDataset
from student.classification.examples import TeacherAnswers
from student.classification.experiment import run_experiment

ABOUT_IMAGES = "base,makd,makd+labels-deep-1,makd+labels-deep,makd-deep,labels-deep,recommended"
ABOUT_CLASSES = "base,lavid,lavid+labels-deep-1,labels-deep-1,recommended-classes"


def main() -> None:
    parser = options(__doc__, "choose", epochs=0, methods=())
    parser.add_argument("--dataset", default="flowers", choices=["flowers", "caltech"])
    asked = parser.parse_args()
    dataset, answers = read_dataset(asked)
    about_classes = answers.image is None
    asked.methods = asked.methods or (ABOUT_CLASSES if about_classes else ABOUT_IMAGES)
    asked.epochs = asked.epochs or (11 if asked.dataset == "caltech" else RECIPE.epochs)
    grid = grid_of(RECIPE.replace(val_fraction=0.25, precision="32-true"), asked)
    results = run_experiment(grid, dataset, answers, asked.run_dir, split="validation")
    rival = "lavid" if about_classes else "makd"
    for summary in results.metric("val_top1"):
        line = {
            "benchmark": f"choose, {asked.dataset}",
            "backbone": results.settings["backbone"],
            "image_size": results.settings["image_size"],
            "method": summary.cell,
            **top1(summary),
            **gains(summary),
        }
        if summary.cell != rival and rival in asked.methods.split(","):
            line["over_rival"] = describe(results.difference(summary.cell, rival, "val_top1"))
        print(json.dumps(line), flush=True)


def read_dataset(asked: argparse.Namespace) -> tuple[FileDataset, TeacherAnswers]:
    """The images and what is known about them."""
    store = asked.run_dir / "store"
    if asked.dataset == "caltech":
        return read_caltech(store)
    dataset, image = read_flowers(store)
    return dataset, TeacherAnswers(image=image)


if __name__ == "__main__":
    run_benchmark(main)
