"""Twenty minutes of corrections, simulated: a person who knows the truth about rendered scenes answers the queue.

First lines: the accuracy of the teacher on each question, estimated from the corrected sample in many draws, against
that on all images: bias, and how often the 95 % interval holds it. Then p(yes) before and after calibration: ECE, and
AUROC over all answers (that of one question does not change). Teachers: the bundled one, and one made worse on purpose:
overconfident, biased and noisy, each question differently.

Last lines: students of the worse teacher that ignore the corrections, use them, or calibrate by them, with the answers
of the scenes' descriptions to score their aspects; and students with a tenth of the labels wrong, before and after the
labels that the answers contradict most are corrected. Finished students are kept: the same command resumes.

    python bench/corrections.py --run-dir runs/corrections
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import log_expit
from sklearn.metrics import roc_auc_score

from bench.arguments import positive, run_benchmark, student_arguments
from storage.answers.read import Answers, find_answers, read_answers
from storage.corrections import Correction, CurrentCorrections, current_corrections
from storage.corrections.apply import correct_answers, human_log_probabilities
from storage.corrections.calibration import fit_calibration
from storage.corrections.estimate import estimate_accuracy
from storage.corrections.queue import Queue
from storage.datasets import FileDataset, image_folder
from storage.datasets.scenes.classification import write_scenes
from storage.statistics import calibration_error
from student.classification.evaluate import evaluate
from student.classification.examples import TeacherAnswers
from student.classification.recipes import recipe
from student.classification.targets import ImageLabels, class_posterior
from student.classification.training import train
from view.corrections import as_drawn

ASPECTS = Path(sys.executable).with_name("aspects")
FLIPPED = 0.1  # share of wrong labels
LABEL_CLICKS = 60


def main() -> None:
    parser = student_arguments(
        __doc__, "corrections", seeds="0,1,2,3,4", engine="transformers", seeds_of="of students (empty: none)"
    )
    parser.add_argument("--clicks", type=positive, default=350, help="corrected answers")
    parser.add_argument("--draws", type=positive, default=200, help="samples of the accuracy")
    asked = parser.parse_args()
    dataset, answers, truth = prepare(asked.run_dir, asked.engine)
    train_images = np.array([split == "train" for split in answers.splits])
    known = answers.about(set(itertools.compress(answers.image_ids, train_images)))
    worse = distorted(known)
    for name, teacher in (("tiny", known), ("distorted", worse)):
        print(json.dumps(accuracy_line(name, teacher, truth[train_images], asked)), flush=True)
        print(json.dumps(calibration_line(name, teacher, truth[train_images], asked)), flush=True)
    seeds = asked.seeds
    if seeds:
        right = answers_that_are(truth, answers)
        for line in student_lines(asked, dataset, worse, truth[train_images], right, seeds):
            print(json.dumps(line), flush=True)
        for line in label_lines(asked, dataset, known, right, seeds):
            print(json.dumps(line), flush=True)


def prepare(folder: Path, engine: str) -> tuple[FileDataset, Answers, NDArray[np.bool_]]:
    """The scenes, the bundled teacher's answers about all of them, and the right ones [I, Q]."""
    scenes, store = folder / "scenes", str(folder / "store")
    if not (scenes / "ground_truth.parquet").exists():
        write_scenes(scenes, train_per_class=50, test_per_class=40, seed=3)
    command = ["extract", "-d", str(scenes), "-q", "scenes", "-t", "tiny", "--engine", engine, "-s", store]
    subprocess.run([str(ASPECTS), *command, "--splits", "train,test"], check=True, stdout=subprocess.DEVNULL)
    answers = read_answers(find_answers(store, "scenes"))
    table = pl.DataFrame({"image_id": answers.image_ids}).join(
        pl.read_parquet(scenes / "ground_truth.parquet"), on="image_id", how="left", maintain_order="left"
    )
    return image_folder(scenes), answers, table.select(answers.questions.keys).to_numpy().astype(bool)


def distorted(answers: Answers) -> Answers:
    """A teacher that is overconfident, biased and noisy, each question differently."""
    generator = np.random.default_rng(0)
    log_odds = (answers.yes - answers.no).astype(np.float64).clip(-6, 6)
    questions = log_odds.shape[1]
    noise = generator.normal(0, generator.uniform(1, 6, questions), log_odds.shape)
    slopes, offsets = np.exp(generator.normal(0.5, 0.3, questions)), generator.normal(0, 2, questions)
    log_odds = slopes * (log_odds + noise) + offsets
    yes, no = (log_expit(sign * log_odds).astype(np.float32) for sign in (1, -1))
    return dataclasses.replace(answers, teacher="distorted", yes=yes, no=no)


def answers_that_are(truth: NDArray[np.bool_], answers: Answers) -> Answers:
    yes, no = human_log_probabilities(truth.astype(float))
    return dataclasses.replace(answers, teacher="truth", yes=yes, no=no)


def clicked(queue: Queue, truth: NDArray[np.bool_], count: int) -> CurrentCorrections:
    """The first answers of the queue, checked by a person who knows the truth."""
    rows = []
    for item in queue.next_items(current_corrections([]), count):
        value = "yes" if truth[item.row, item.column] else "no"
        one = Correction(image_id=item.image_id, kind="answer", key=item.key, text=item.text, value=value)
        rows.append(as_drawn(one, item))
    return current_corrections(rows)


def redrawn(queue: Queue, seed: int) -> Queue:
    """The queue with other draws."""
    uniform = 1 - np.random.default_rng(seed).uniform(size=queue.draws.shape)
    return dataclasses.replace(queue, draws=uniform)


def accuracy_line(name: str, answers: Answers, truth: NDArray[np.bool_], asked: argparse.Namespace) -> dict[str, Any]:
    queue = Queue.of(answers)
    right = ((answers.p_yes > 0.5) == truth).mean(axis=0)
    wanted = np.array([right.mean(), *right])
    found = np.full((asked.draws, len(wanted), 3), np.nan)
    for draw in range(asked.draws):
        drawn = redrawn(queue, draw)
        estimates = estimate_accuracy(drawn, clicked(drawn, truth, asked.clicks))
        for place, one in enumerate(estimates):
            found[draw, place] = (np.nan if one.accuracy is None else one.accuracy, one.low, one.high)
    inside = (found[..., 1] <= wanted + 1e-9) & (found[..., 2] >= wanted - 1e-9)
    known = ~np.isnan(found[..., 0])
    errors, widths = found[..., 0] - wanted, found[..., 2] - found[..., 1]
    return {
        "benchmark": "corrections, accuracy",
        "teacher": name,
        "images": len(truth),
        "questions": truth.shape[1],
        "clicks": asked.clicks,
        "draws": asked.draws,
        "accuracy": percent(wanted[0]),
        "accuracy_lowest": percent(wanted[1:].min()),
        "bias": percent(errors[:, 0].mean()),
        "bias_by_question": percent(np.nanmean(errors[:, 1:])),
        "coverage": percent(inside[:, 0].mean()),
        "coverage_by_question": percent(inside[:, 1:].mean(where=known[:, 1:])),
        "coverage_lowest": percent(min(inside[:, q].mean(where=known[:, q]) for q in range(1, len(wanted)))),
        "interval_width": percent(widths[:, 0].mean()),
        "interval_width_by_question": percent(widths[:, 1:].mean(where=known[:, 1:])),
        "error": percent(np.abs(errors[:, 0]).mean()),
        "error_by_question": percent(np.nanmean(np.abs(errors[:, 1:]))),
    }


def calibration_line(
    name: str, answers: Answers, truth: NDArray[np.bool_], asked: argparse.Namespace
) -> dict[str, Any]:
    queue = Queue.of(answers)
    before, after, corrected = scores(answers, truth), [], []
    for draw in range(min(asked.draws, 20)):
        drawn = redrawn(queue, draw)
        current = clicked(drawn, truth, asked.clicks)
        calibrated = fit_calibration(drawn, current).apply(answers)
        after.append(scores(calibrated, truth))
        corrected.append(scores(correct_answers(calibrated, current)[0], truth))
    line: dict[str, Any] = {"benchmark": "corrections, calibration", "teacher": name, "draws": len(after)}
    for metric, value in before.items():
        line[f"{metric}_before"] = round(value, 4)
        line[f"{metric}_calibrated"] = round(float(np.mean([one[metric] for one in after])), 4)
        line[f"{metric}_calibrated_std"] = round(float(np.std([one[metric] for one in after])), 4)
        line[f"{metric}_corrected_too"] = round(float(np.mean([one[metric] for one in corrected])), 4)
    return line


def scores(answers: Answers, truth: NDArray[np.bool_]) -> dict[str, float]:
    """ECE and AUROC against the truth, means over the questions, and over all answers at once."""
    p_yes = answers.p_yes.astype(np.float64)
    columns = [column for column in range(truth.shape[1]) if 0 < truth[:, column].sum() < len(truth)]
    return {
        "ece": float(np.mean([calibration_error(p_yes[:, q], truth[:, q]) for q in range(truth.shape[1])])),
        "log_loss": float(-np.where(truth, answers.yes, answers.no).clip(-20).mean()),
        "auroc": float(np.mean([roc_auc_score(truth[:, q], p_yes[:, q]) for q in columns])),
        "auroc_all_answers": float(roc_auc_score(truth.ravel(), p_yes.ravel())),
    }


def student_lines(
    asked: argparse.Namespace,
    dataset: FileDataset,
    answers: Answers,
    truth: NDArray[np.bool_],
    right: Answers,
    seeds: list[int],
) -> Iterable[dict[str, Any]]:
    """Students that learn the worse teacher's answers; corrections differ with the seed."""
    results: dict[str, list[dict[str, float]]] = {"ignore": [], "use": [], "calibrate": []}
    for seed in seeds:
        queue = redrawn(Queue.of(answers), 1000 + seed)
        current = clicked(queue, truth, asked.clicks)
        calibrated = fit_calibration(queue, current).apply(answers)
        given = {
            "ignore": answers,
            "use": correct_answers(answers, current)[0],
            "calibrate": correct_answers(calibrated, current)[0],
        }
        for name, learned in given.items():
            place = asked.run_dir / "answers" / f"{name}-{asked.clicks}" / f"seed-{seed}"
            results[name].append(student(asked, dataset, learned, place, seed, right))
    yield from compared("corrections, answers", {"clicks": asked.clicks}, results, "ignore")


def label_lines(
    asked: argparse.Namespace, dataset: FileDataset, answers: Answers, right: Answers, seeds: list[int]
) -> Iterable[dict[str, Any]]:
    """Students with wrong labels, before and after the most suspicious ones are corrected, and with all right."""
    results: dict[str, list[dict[str, float]]] = {"wrong labels": [], "corrected": [], "right labels": []}
    fixed = []
    for seed in seeds:
        wrong = flipped(dataset, seed)
        places = suspicious(wrong, answers)[:LABEL_CLICKS]
        records = list(wrong.records)
        fixed.append(sum(records[place].label != dataset.records[place].label for place in places))
        for place in places:
            records[place] = dataset.records[place]
        given = {"wrong labels": wrong, "corrected": wrong.subset(records), "right labels": dataset}
        for name, images in given.items():
            place = asked.run_dir / "labels" / name.replace(" ", "-") / f"seed-{seed}"
            results[name].append(student(asked, images, answers, place, seed, right))
    facts = {"clicks": LABEL_CLICKS, "wrong": round(FLIPPED * len(answers.image_ids)), "corrected": np.mean(fixed)}
    yield from compared("corrections, labels", facts, results, "wrong labels")


def student(
    asked: argparse.Namespace, dataset: FileDataset, answers: Answers, place: Path, seed: int, right: Answers
) -> dict[str, float]:
    config = recipe("demo", method="makd", seed=seed, threads=asked.threads, accelerator="cpu")
    train(config, dataset, TeacherAnswers(image=answers), place, progress=False)
    found = evaluate(place, dataset, right, "test")
    return {"top1": found.top1, "auroc": found.aspect_auroc or np.nan, "ece": found.aspect_ece or np.nan}


def compared(
    benchmark: str, facts: dict[str, Any], results: dict[str, list[dict[str, float]]], baseline: str
) -> Iterable[dict[str, Any]]:
    for name, rows in results.items():
        line: dict[str, Any] = {"benchmark": benchmark, "students": name, "seeds": len(rows), **facts}
        for metric in rows[0]:
            values = np.array([row[metric] for row in rows])
            gains = values - np.array([row[metric] for row in results[baseline]])
            line[metric] = percent(values.mean())
            if name != baseline:
                line[f"{metric}_gain"] = percent(gains.mean())
                line[f"{metric}_gain_by_seed"] = [percent(gain) for gain in gains]
        yield line


def flipped(dataset: FileDataset, seed: int) -> FileDataset:
    """A tenth of the training labels replaced by any other class."""
    generator = np.random.default_rng([seed, 9])
    records, classes = list(dataset.records), len(dataset.class_names)
    trained = [place for place, record in enumerate(records) if record.split == "train"]
    for place in generator.permutation(trained)[: round(FLIPPED * len(trained))].tolist():
        label = int((records[place].label + generator.integers(1, classes)) % classes)
        records[place] = dataclasses.replace(records[place], label=label, label_name=dataset.class_names[label])
    return dataset.subset(records)


def suspicious(dataset: FileDataset, answers: Answers) -> list[int]:
    """Training images by the posterior of their label given the answers, cross-fitted, the lowest first."""
    places = {record.image_id: place for place, record in enumerate(dataset.records)}
    order = [places[image_id] for image_id in answers.image_ids]
    labels = np.array([dataset.records[place].label for place in order])
    images = ImageLabels(labels=labels, trained=np.ones(len(labels), bool), classes=len(dataset.class_names), seed=0)
    scores = class_posterior(answers.yes - answers.no, images)
    margin = scores[np.arange(len(labels)), labels] - scores.max(axis=1)
    return [order[row] for row in np.argsort(margin, kind="stable")]


def percent(share: float) -> float:
    return round(100 * float(share), 2)


if __name__ == "__main__":
    run_benchmark(main)
