"""Does the teacher help? Oxford 102 Flowers at 64 px: base and distilled ResNet18 from scratch, in pairs of one seed.

The answers are real: p(yes) of InternVL2-8B to 50 questions about each of the 2,091 training photos, in the file
layout of the method's authors. The epoch is chosen on a validation split of those photos; the 6,098 test photos are
looked at once per student. Prints one line of JSON. Started again with the same --run-dir it goes on where it stopped.

    python bench/flowers.py --run-dir runs/flowers
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1]
# Python puts this file's folder first, where teacher.py would be taken for the package `teacher`.
sys.path[0] = str(PROJECT)

import torch

from storage.answers import load_answers
from storage.datasets import image_folder
from student.compare import Comparison, compare
from student.config import StudentConfig
from teacher.precomputed import import_answers, read_makd

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
    alpha=30.0,
    precision="bf16-mixed",
    checkpoint_every=3,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run-dir", type=Path, default=PROJECT / "runs" / "flowers", help="where runs are kept")
    parser.add_argument("--seeds", type=int, default=3, help="paired seeds, from 0")
    parser.add_argument("--epochs", type=int, default=RECIPE.epochs)
    parser.add_argument("--alpha", type=float, default=RECIPE.alpha)
    parser.add_argument("--threads", type=int, default=None, help="CPU threads; torch's own choice unless given")
    asked = parser.parse_args()
    folder = Path(os.environ.get("ASPECTS_DATA", PROJECT / ".." / "shared" / "data")) / "flowers102_64"
    if not folder.is_dir():
        sys.exit(f"no flowers at {folder}; set ASPECTS_DATA to the folder that holds flowers102_64")
    config = RECIPE.replace(epochs=asked.epochs, alpha=asked.alpha, threads=asked.threads)

    dataset = image_folder(folder, name="flowers102_64")
    answers_file = read_makd(folder / "internvl2_yes_probability.json")
    imported = import_answers(answers_file, dataset, ("train",), str(asked.run_dir / "store"))
    started = time.perf_counter()
    comparison = compare(config, dataset, load_answers(imported.directory), range(asked.seeds), asked.run_dir)
    print(json.dumps(report(comparison, time.perf_counter() - started)))


def report(comparison: Comparison, seconds: float) -> dict[str, Any]:
    """Top-1 on the test photos in percent; `seconds` is this start's wall clock, `training_seconds` all training's."""
    top1 = comparison.metric("top1")
    return {
        "benchmark": "flowers102_64",
        "train_images": comparison.train_images,
        "val_images": comparison.val_images,
        "test_images": comparison.images,
        "seeds": len(top1.gains),
        "base_top1_mean": percent(top1.base_mean),
        "base_top1_std": percent(top1.base_std),
        "distilled_top1_mean": percent(top1.distilled_mean),
        "distilled_top1_std": percent(top1.distilled_std),
        "gain_per_seed": [percent(gain) for gain in top1.gains],
        "gain_mean": percent(top1.gain_mean),
        "base_top5_mean": percent(comparison.metric("top5").base_mean),
        "distilled_top5_mean": percent(comparison.metric("top5").distilled_mean),
        "seconds": round(seconds),
        "training_seconds": round(sum(row.seconds for row in comparison.rows)),
        "threads": torch.get_num_threads(),
        "settings": comparison.config.learned(),
    }


def percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 2)


if __name__ == "__main__":
    main()
