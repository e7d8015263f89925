"""Spurious backgrounds: groups balanced by a teacher's answers, against groups balanced by the truth.

Rendered scenes of two classes, few and many objects; in training 90 % of the images of a class have its background
colour, in test half of them. Students from scratch: `base`, `makd`, and `base` balanced by "Is the ground or background
blue?", by the answers of the bundled teacher and by the right ones. Groups of the evaluation are by the truth. Prints a
line of JSON for each with the top-1 of the worst group, over all seeds, on `--split validation` to choose settings or
`test` to report. The same command resumes.

    python bench/groups.py --run-dir runs/groups
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from bench.arguments import run_benchmark, student_arguments
from bench.flowers import describe, percent
from storage.answers.read import Answers, complete_directories, find_answers, read_answers
from storage.corrections.apply import human_log_probabilities
from storage.datasets import FileDataset, image_folder
from storage.datasets.base import select
from storage.datasets.scenes.spurious import write_spurious_scenes
from storage.datasets.scenes.truth import read_truth
from student.classification.examples import TeacherAnswers
from student.classification.experiment import run_experiment
from student.classification.grid import StudentGrid
from student.classification.group_scores import WORST_GROUP, find_groups
from student.classification.recipes import recipe
from student.core.results import Results, paired_difference

ASPECTS = Path(sys.executable).with_name("aspects")
QUESTION = "is_bluish"
BALANCED, BALANCED_CELL = {"method": ["base"], "balance": [QUESTION]}, f"base,balance={QUESTION}"
METRICS = (WORST_GROUP, "top1")
SHARE, TRAIN, TEST = 0.9, 150, 200  # share of the colour, images of a class
SETTINGS: dict[str, Any] = {
    "backbone": "test_resnet",
    "image_size": 32,
    "cache_size": 32,
    "epochs": 15,
    "precision": "32-true",
    "accelerator": "cpu",
    "alpha": None,
}


def main() -> None:
    parser = student_arguments(__doc__, "groups", seeds="0,1,2", engine="transformers")
    parser.add_argument("--split", default="test", help="validation: other scenes than those of test")
    asked = parser.parse_args()
    dataset, answers, truth = prepare(asked.run_dir, asked.engine)
    plain = train(asked, dataset, answers, "plain", method=["base", "makd"])
    students = {
        "base": by_seed(plain, "base"),
        "makd": by_seed(plain, "makd"),
        "balanced by the answers": by_seed(train(asked, dataset, answers, "answers", **BALANCED), BALANCED_CELL),
        "balanced by the truth": by_seed(train(asked, dataset, truth, "truth", **BALANCED), BALANCED_CELL),
    }
    for name, scores in students.items():
        worst = scores[WORST_GROUP]
        line = {
            "student": name,
            "split": asked.split,
            **{metric: [percent(value) for value in scores[metric].values()] for metric in METRICS},
            "worst_group_mean": percent(float(np.mean(list(worst.values())))),
            "over_base": describe(paired_difference(worst, students["base"][WORST_GROUP])),
            "over_truth": describe(paired_difference(worst, students["balanced by the truth"][WORST_GROUP])),
        }
        print(json.dumps(line), flush=True)


def train(asked: argparse.Namespace, dataset: FileDataset, answers: Answers, name: str, **axes: list[str]) -> Results:
    """Train and score the students of a grid in a folder of that name."""
    torch.set_num_threads(asked.threads or torch.get_num_threads())
    grid = StudentGrid(settings=recipe("demo", **SETTINGS).to_dict(), axes=axes, seeds=asked.seeds)
    groups = find_groups(dataset, select(dataset, (asked.split,)), [QUESTION], None)
    known = TeacherAnswers(image=answers)
    return run_experiment(grid, dataset, known, asked.run_dir / name, split=asked.split, progress=False, groups=groups)


def by_seed(results: Results, cell: str) -> dict[str, dict[int, float]]:
    """The metrics of a cell's students by their seeds."""
    rows = results.table.filter(pl.col("cell") == cell)
    return {metric: dict(zip(rows["seed"], rows[metric], strict=True)) for metric in METRICS}


def prepare(folder: Path, engine: str) -> tuple[FileDataset, Answers, Answers]:
    """The scenes with splits train, validation and test, and two teachers' answers about the first: the bundled one's
    and the right ones."""
    scenes, others, store = folder / "scenes", folder / "others", str(folder / "store")
    if not (scenes / "validation").exists():
        write_spurious_scenes(others, train_per_class=0, test_per_class=TEST, share=SHARE, seed=1)
        write_spurious_scenes(scenes, train_per_class=TRAIN, test_per_class=TEST, share=SHARE, seed=0)
        mine = read_right(scenes).with_columns(pl.col("image_id").str.replace("test/", "validation/"))
        pl.concat([mine, read_right(others)]).write_parquet(scenes / "ground_truth.parquet")
        (scenes / "test").rename(scenes / "validation")
        (others / "test").rename(scenes / "test")
    if not complete_directories(store, "scenes"):
        ask = [str(ASPECTS), "extract", "-d", str(scenes), "-q", "scenes", "-s", store, "--teacher", "tiny"]
        subprocess.run([*ask, "--engine", engine, "--splits", "train"], check=True, stdout=sys.stderr)
    dataset, answers = image_folder(scenes), read_answers(find_answers(store, "scenes"))
    return dataset, answers, right_answers(dataset, answers)


def read_right(scenes: Path) -> pl.DataFrame:
    return pl.read_parquet(scenes / "ground_truth.parquet")


def right_answers(dataset: FileDataset, answers: Answers) -> Answers:
    """The right ones to the same questions about the same images."""
    truth = read_truth(dataset)
    assert truth is not None, "prepare has written them"
    table = pl.DataFrame({"image_id": answers.image_ids}).join(truth, on="image_id", maintain_order="left")
    yes, no = human_log_probabilities(table.select(answers.questions.keys).to_numpy().astype(float))
    return dataclasses.replace(answers, teacher="truth", yes=yes, no=no)


if __name__ == "__main__":
    run_benchmark(main)
