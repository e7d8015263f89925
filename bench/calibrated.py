"""Do students gain from calibrated answers, or from weights of questions and answers? Against plain p(yes).

Scenes: answers of the bundled teacher to 50 questions, their negations and about a blank image. First a line about the
answers themselves, AUROC and expected calibration error against the truth, means over the questions whose truth varies.
Then a line of JSON for each method with the top-1 of its students on 480 scenes that no other benchmark uses for tests.

Flowers: InternVL2-8B's stored answers have no probes, so only weights by certainty and by information are compared, on
a quarter of the training images.

Differences are in pairs of one seed. Started again with the same --run-dir it resumes.

    python bench/calibrated.py --run-dir runs/calibrated --threads 1
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from bench.arguments import run_benchmark, student_arguments
from bench.data import read_flowers
from bench.flowers import RECIPE, describe, percent
from storage.answers.probes import ProbeAnswers, read_probes
from storage.answers.read import Answers, find_answers, read_answers
from storage.datasets import FileDataset, image_folder
from storage.datasets.scenes.classification import write_scenes
from storage.datasets.scenes.truth import read_truth
from storage.questions import load_questions
from storage.statistics import calibration_error
from student.classification import calibrated
from student.classification.calibrated import probe_log_odds
from student.classification.examples import TeacherAnswers, training_records
from student.classification.experiment import run_experiment
from student.classification.grid import StudentGrid
from student.classification.methods import METHODS
from student.classification.recipes import recipe, recipe_settings
from student.classification.targets import ImageLabels, Values
from student.core.examples import log_odds_of
from student.core.results import Results, paired_difference

PROJECT = Path(__file__).parents[1]
ASPECTS = Path(sys.executable).with_name("aspects")
QUESTIONS = PROJECT / "questions" / "scenes.yaml"
SCENES_SEED = 11
SETTINGS: dict[str, Any] = {"image_size": 32, "cache_size": 32, "precision": "32-true", "accelerator": "cpu"}
WEIGHTED = ["makd-certainty", "makd-information"]
PROBED = ["makd-calibrated", "makd-consistency"]
BY_TRUTH = "makd-auroc"  # an oracle: weights that only a table of right answers gives


def main() -> None:
    parser = student_arguments(__doc__, "calibrated", seeds="0,1,2", engine="transformers")
    parser.add_argument("--datasets", default="scenes,flowers", help="separated by commas")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads or torch.get_num_threads())
    seeds = asked.seeds
    if "scenes" in asked.datasets:
        compare_scenes(asked.run_dir / "scenes-students", *prepare(asked.run_dir, asked.engine), seeds)
    if "flowers" in asked.datasets:
        compare_flowers(asked.run_dir, seeds)


def compare_scenes(runs: Path, dataset: FileDataset, answers: Answers, probes: ProbeAnswers, seeds: list[int]) -> None:
    right_NQ = right_answers(dataset, answers)
    blank_alone = dataclasses.replace(probes, negated=None)
    for name, given in {"blank": blank_alone, "blank and negated": probes}.items():
        print(json.dumps(quality(dataset, answers, given, right_NQ, name)), flush=True)
    auroc_Q = auroc(expit(log_odds_of(dataset, training_records(dataset), answers)), right_NQ)
    METHODS[BY_TRUTH] = weighted_by(np.nan_to_num(2 * auroc_Q - 1, nan=0.0).clip(0))
    settings = {**recipe_settings("demo"), **SETTINGS}
    arms: dict[str, tuple[list[str], ProbeAnswers]] = {
        "blank": (["makd", *WEIGHTED, "makd-calibrated", BY_TRUTH], blank_alone),
        "negated": (PROBED, probes),
    }
    found: dict[str, dict[int, float]] = {}
    for name, (methods, given) in arms.items():
        grid = StudentGrid(settings=settings, axes={"method": methods}, seeds=seeds)
        known = TeacherAnswers(image=answers, probes=given)
        results = run_experiment(grid, dataset, known, runs / name, progress=False)
        for method in methods:
            found[f"{method}, {name}" if method in PROBED else method] = by_seed(results, method, "top1")
        found.setdefault("base", by_seed(results, "base", "top1"))
    print_lines("scenes", found)


def weighted_by(weights_Q: NDArray[np.float64]) -> Any:
    """MaKD with a weight for each question."""

    def weigh(log_odds: Values, images: ImageLabels) -> Values:
        return np.broadcast_to(weights_Q / weights_Q.mean(), log_odds.shape)

    makd = METHODS["makd"]
    return dataclasses.replace(makd, terms=(dataclasses.replace(makd.aspect_terms[0], weigh=weigh),))


def compare_flowers(folder: Path, seeds: list[int]) -> None:
    dataset, answers = read_flowers(folder / "store")
    small = {"backbone": "resnet10t", "image_size": 32, "cache_size": 32, "epochs": 16, "precision": "32-true"}
    config = RECIPE.replace(**small, val_fraction=0.25, accelerator="cpu")
    methods = ["makd", *WEIGHTED]
    grid = StudentGrid(settings=config.to_dict(), axes={"method": methods}, seeds=seeds)
    known = TeacherAnswers(image=answers)
    results = run_experiment(grid, dataset, known, folder / "flowers-students", split="validation", progress=False)
    print_lines("flowers", {method: by_seed(results, method, "val_top1") for method in ["base", *methods]})


def prepare(folder: Path, engine: str) -> tuple[FileDataset, Answers, ProbeAnswers]:
    """The scenes and all answers, drawn and asked where they are missing."""
    scenes, store = folder / "scenes", str(folder / "store")
    if not (scenes / "ground_truth.parquet").exists():
        write_scenes(scenes, train_per_class=24, test_per_class=40, seed=SCENES_SEED)
    command = [str(ASPECTS), "extract", "-d", str(scenes), "-q", str(QUESTIONS), "-s", store, "--engine", engine]
    subprocess.run([*command, "--probes", "blank,negated"], check=True, stdout=subprocess.DEVNULL)
    dataset = image_folder(scenes)
    answers = read_answers(find_answers(store, dataset.name, questions=load_questions(QUESTIONS)))
    return dataset, answers, read_probes(store, answers)


def right_answers(dataset: FileDataset, answers: Answers) -> NDArray[np.bool_]:
    """The right answers to the questions about the training images [N, Q]."""
    truth = read_truth(dataset)
    assert truth is not None, "prepare has written them"
    ids = [record.image_id for record in training_records(dataset)]
    table = pl.DataFrame({"image_id": ids}).join(truth, on="image_id", maintain_order="left")
    return table.select(answers.questions.keys).to_numpy().astype(bool)


def quality(
    dataset: FileDataset, answers: Answers, probes: ProbeAnswers, right_NQ: NDArray[np.bool_], name: str
) -> dict[str, Any]:
    """AUROC and calibration error of the plain and of the calibrated answers."""
    records = training_records(dataset)
    log_odds = log_odds_of(dataset, records, answers)
    images = ImageLabels(
        labels=np.array([record.label for record in records]),
        trained=np.ones(len(records), dtype=bool),
        classes=len(dataset.class_names),
        seed=0,
        probes=probe_log_odds(recipe("demo"), dataset, records, answers.questions, probes),
    )
    line: dict[str, Any] = {"benchmark": "calibrated, answers about scenes", "probes": name}
    for kind, values in {"plain": log_odds, "calibrated": calibrated.calibrated(log_odds, images)}.items():
        p_NQ = expit(values.astype(np.float64))
        errors = [calibration_error(p_N, right_N) for p_N, right_N in zip(p_NQ.T, right_NQ.T, strict=True)]
        line[kind] = {"auroc": round(float(np.nanmean(auroc(p_NQ, right_NQ))), 4), "ece": round(np.mean(errors), 4)}
    return line


def auroc(p_NQ: Values, right_NQ: NDArray[np.bool_]) -> NDArray[np.float64]:
    """AUROC of each question [Q]; NaN where the right answer is the same for all images."""
    pairs = zip(p_NQ.T, right_NQ.T, strict=True)
    return np.array(
        [roc_auc_score(right_N, p_N) if 0 < right_N.sum() < len(right_N) else np.nan for p_N, right_N in pairs]
    )


def by_seed(results: Results, cell: str, metric: str) -> dict[int, float]:
    rows = results.table.filter(pl.col("cell") == cell)
    return dict(zip(rows["seed"], rows[metric], strict=True))


def print_lines(dataset: str, found: Mapping[str, Mapping[int, float]]) -> None:
    for method, values in found.items():
        line: dict[str, Any] = {"benchmark": f"calibrated, {dataset}", "method": method}
        line |= {"top1_mean": percent(float(np.mean(list(values.values())))), "seeds": len(values)}
        line["over_base"] = describe(paired_difference(values, found["base"])) if method != "base" else None
        if method not in ("base", "makd"):
            line["over_makd"] = describe(paired_difference(values, found["makd"]))
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    run_benchmark(main)
