"""Compare all methods: Oxford 102 Flowers at 64 px, ResNet18 from scratch, in pairs of one seed.

The answers are real: p(yes) of InternVL2-8B to 50 questions about each of the 2,091 training images (files of MaKD's
authors), and Qwen2.5-7B's about the 102 classes (files of LaViD's). Every method has the same images, the same
budget and the same starts; weights were chosen on validation images, and the 6,098 test images are looked at once per
student. The methods include the twin of each, the same training without answers, and controls without answers. Where
all images have a label, `recommended-without-answers` trains what `labels-deep` does. Prints one line of JSON for each
method. With the same --run-dir it resumes.

A student takes about 6 minutes on one core of a CPU with bfloat16 instructions, all 13 methods with five seeds 6.5
hours; a larger image or backbone takes longer in proportion to its computations.

    python bench/flowers.py --run-dir runs/flowers
    python bench/flowers.py --backbone mobilenetv3_small_100 --run-dir runs/mobilenet
    python bench/flowers.py --backbone tf_efficientnet_lite0 --weights FILE --image-size 128 --run-dir runs/flowers-lite
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

import torch

from bench.arguments import existing_file, positive, run_benchmark, student_arguments
from bench.data import data_root, read_answers, read_flowers
from student.classification.config import StudentConfig
from student.classification.examples import TeacherAnswers
from student.classification.experiment import run_experiment
from student.classification.grid import StudentGrid
from student.core.results import CellSummary, Difference, Results
from teacher.extraction.precomputed import read_lavid

# Chosen on validation images alone; docs/experiments.md has what else was tried.
RECIPE = StudentConfig(
    backbone="resnet18",
    image_size=64,
    cache_size=64,
    epochs=30,
    batch_size=64,
    optimizer="sgd",
    lr=0.1,
    momentum=0.9,
    nesterov=True,
    weight_decay=5e-4,
    schedule="cosine",
    warmup=2,
    crop_scale=(0.8, 1.0),
    val_fraction=0.0,  # all images train, and the last epoch counts: 200 images would choose the best one by chance
    precision="bf16-mixed",
    checkpoint_every=3,
)
METHODS = [
    *("base", "label-smoothing", "labels-deep", "recommended-without-answers"),
    *("makd", "makd-deep", "lavid", "lavid+labels-deep", "recommended"),
    *("recommended-class-mean", "class-mean", "shuffled", "random"),
]


def main() -> None:
    parser = options(__doc__, "flowers", RECIPE.epochs, METHODS)
    parser.add_argument(
        "--label-fraction", type=float, default=1.0, help="of each class's images, whose label is known"
    )
    asked = parser.parse_args()
    store, lavid = asked.run_dir / "store", data_root() / "lavid"
    dataset, image = read_flowers(store)
    known = read_lavid(lavid / "flowers_qwen2.5-7b_chat_50-5.json", lavid / "flowers_chat_50-5.txt")
    teacher_answers = TeacherAnswers(image=image, classes=read_answers(known, dataset, store))
    config = RECIPE.replace(label_fraction=asked.label_fraction)
    print_results(run_experiment(grid_of(config, asked), dataset, teacher_answers, asked.run_dir), "recommended")


def options(description: str | None, name: str, epochs: int, methods: Sequence[str]) -> argparse.ArgumentParser:
    """What benchmarks of methods have in common."""
    parser = student_arguments(description, name, seeds="0,1,2,3,4")
    parser.add_argument("--epochs", type=positive, default=epochs)
    parser.add_argument("--methods", default=",".join(methods), help="separated by commas; base is always one")
    parser.add_argument("--backbone", help="a model of timm, or torchvision:NAME; give each a --run-dir of its own")
    parser.add_argument("--weights", type=existing_file, help="file of pretrained weights of the backbone")
    parser.add_argument("--image-size", type=positive, help="side in pixels; images are enlarged to it")
    return parser


def asked_settings(asked: argparse.Namespace) -> dict[str, Any]:
    """The settings of a student that were given by `options`."""
    given: dict[str, Any] = {"threads": asked.threads}
    if asked.epochs:
        given["epochs"] = asked.epochs
    if asked.backbone:
        given["backbone"] = asked.backbone
    if asked.weights:
        given["weights"] = str(asked.weights)
    if asked.image_size:
        given |= {"image_size": asked.image_size, "resize_size": asked.image_size}
    return given


def grid_of(config: StudentConfig, asked: argparse.Namespace) -> StudentGrid:
    """The methods and seeds that were asked for, with the other settings of `config`."""
    given = asked_settings(asked)
    if asked.image_size:
        given["cache_size"] = asked.image_size
    return StudentGrid(
        settings=config.replace(**given).to_dict(),
        axes={"method": asked.methods.split(",")},
        seeds=asked.seeds,
    )


def print_results(results: Results, best: str) -> None:
    """A line of JSON for each method: top-1 on the test images in percent, what it gains over base, what of that the
    answers add (over its twin), and what the method `best` gains over it."""
    methods = [summary.cell for summary in results.metric("top1")]
    for summary in results.metric("top1"):
        rows = results.table.filter(results.table["cell"] == summary.cell)
        line = {
            "benchmark": results.dataset,
            "backbone": results.settings["backbone"],
            "image_size": results.settings["image_size"],
            "label_fraction": results.settings["label_fraction"],
            "method": summary.cell,
            "train_images": results.train_images,
            "test_images": results.images,
            **top1(summary),
            "top5_mean": percent(float(rows["top5"].to_numpy().mean())),
            "loss_mean": round(float(rows["loss"].to_numpy().mean()), 4),
            **gains(summary),
        }
        if best in methods and summary.cell != best:
            line[f"{best}_over_it"] = describe(results.difference(best, summary.cell))
        line |= {"training_seconds": round(rows["seconds"].sum()), "threads": torch.get_num_threads()}
        print(json.dumps(line), flush=True)


def top1(summary: CellSummary) -> dict[str, Any]:
    """Top-1 of every seed, in percent, with mean and standard deviation."""
    return {
        "seeds": len(summary.values),
        "top1": [percent(value) for value in summary.values],
        "top1_mean": percent(summary.mean),
        "top1_std": percent(summary.std),
    }


def gains(summary: CellSummary) -> dict[str, Any]:
    return {
        "over_base": describe(summary.gain),
        "twin": summary.twin,
        "over_twin": describe(summary.answers_gain),
    }


def describe(difference: Difference | None) -> dict[str, Any] | None:
    """A paired difference in percentage points, with its 95 % confidence interval and what that is over."""
    if difference is None:
        return None
    return {
        "mean": percent(difference.mean),
        "interval": [percent(difference.low), percent(difference.high)],
        "over": difference.over,
        "by_seed": [percent(value) for value in difference.values],
    }


def percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 2)


if __name__ == "__main__":
    run_benchmark(main)
