"""What do rounds of improvement find with a third of the pairs of image and question? Rendered scenes, bundled teacher.

The pool is the bundled 50 questions; ten at random, others with each seed, are the start. `aspects questions improve`
chooses ten in at most three rounds. Its students are trained on the training scenes alone, out of fold. Then one
student of each set is trained by recipe `demo` and MaKD's method, with the same seed: the start, the improved set, and
the ten that an audit chooses from all answers. Prints a line of JSON for each seed and one for all, top-1 on 480 test
scenes in percent. The store has all answers beforehand; `pairs` counts those that the improvement asked for. Resumes.

With --choose-only no student is trained: a line for each size of the sample of the first round has the leave-one-out
error of the chosen ten on all answers, in the mean over the seeds (see teacher/questions/selection.py), beside that of
ten at random and of the ten that are chosen from all answers.

    python bench/improve.py --run-dir runs/improve --threads 1
    python bench/improve.py --run-dir runs/improve-validation --scenes-seed 11     # other scenes, to choose settings
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.arguments import natural, positive, run_benchmark, several, student_arguments
from bench.flowers import describe, percent
from bench.questions import BUNDLED, aspects
from flows.cli.execution import direct_host, terminal
from flows.parameters import DatasetParameters, EngineParameters, ImprovementParameters, StudentParameters
from flows.work.improving import improve_questions
from storage.answers.read import Answers, find_answers, read_answers
from storage.datasets import FileDataset, image_folder
from storage.datasets.base import select
from storage.datasets.scenes.classification import write_scenes
from storage.questions import QuestionSet, load_questions, write_questions
from student.classification.evaluate import evaluate
from student.classification.examples import TeacherAnswers
from student.classification.recipes import recipe
from student.classification.training import train
from student.core.results import paired_difference
from teacher.questions.improvement import PairBudget, best_questions, grow_sample, stage_sizes, unfit
from teacher.questions.selection import leave_one_out_error, select_from_audit, select_questions

COUNT = 10
FOLD_SETTINGS = {"image_size": 32, "cache_size": 32, "precision": "32-true", "method": "makd", "accelerator": "cpu"}


def main() -> None:
    parser = student_arguments(__doc__, "improve", seeds="0,1,2,3,4", engine="transformers")
    parser.add_argument(
        "--scenes-seed", type=natural, default=0, help="of the scenes; 0 are those of bench/questions.py"
    )
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--sample", type=positive, default=52, help="images that candidates are compared on")
    parser.add_argument("--share", type=float, default=1 / 3, help="of the pairs that may be asked")
    parser.add_argument("--choose-only", action="store_true", help="train no students")
    parser.add_argument(
        "--samples", type=several(positive), default="36,52,72,108", help="for --choose-only, separated by commas"
    )
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads or torch.get_num_threads())
    seeds = asked.seeds
    if asked.choose_only:
        dataset, answers = read_scenes(asked.run_dir, asked.engine, asked.scenes_seed)
        print_choices(dataset, answers, seeds, asked.samples)
        return
    dataset, answers, chosen = prepare(asked.run_dir, asked.engine, asked.scenes_seed)
    top1: dict[str, dict[int, float]] = {"start": {}, "improved": {}, "chosen": {}}
    pairs = []
    for seed in seeds:
        start = random_questions(seed)
        improved, record = improve(asked, dataset, answers, start, seed)
        for name, questions in {"start": start, "improved": improved, "chosen": chosen}.items():
            place = asked.run_dir / f"seed-{seed}" / f"{name}-{questions.fingerprint}"
            top1[name][seed] = score(dataset, answers.only(questions.keys), place, seed, asked.threads)
        pairs.append(record["pairs"])
        line = {name: percent(values[seed]) for name, values in top1.items()}
        print(json.dumps({"benchmark": "improve", "seed": seed, **line, **record}), flush=True)
    summary: dict[str, Any] = {"benchmark": "improve, all seeds", "seeds": len(pairs), "pairs": max(pairs)}
    summary["all_pairs"] = int(np.prod(answers.yes.shape))
    summary["top1"] = {name: percent(float(np.mean(list(values.values())))) for name, values in top1.items()}
    for other in ("start", "chosen"):
        summary[f"improved_over_{other}"] = describe(paired_difference(top1["improved"], top1[other]))
    print(json.dumps(summary), flush=True)


def print_choices(dataset: FileDataset, answers: Answers, seeds: list[int], samples: list[int]) -> None:
    images = len(answers.image_ids)
    random = [error_of(answers, random_questions(seed).keys) for seed in seeds]
    columns = select_questions(answers.p_yes, answers.label_names, COUNT)
    everything = error_of(answers, [answers.questions.keys[column] for column in columns])
    for size in samples:
        found = [choose_on_sample(dataset, answers, size, seed) for seed in seeds]
        line = {
            "benchmark": "improve, choice",
            "sample": size,
            "pairs": max(pairs for _, pairs in found),
            "share": round(max(pairs for _, pairs in found) / (images * len(answers.questions)), 3),
            "error": round(float(np.mean([error_of(answers, keys) for keys, _ in found])), 4),
            "error_random": round(float(np.mean(random)), 4),
            "error_all_answers": round(everything, 4),
            "seeds": len(seeds),
        }
        print(json.dumps(line), flush=True)


def choose_on_sample(dataset: FileDataset, answers: Answers, size: int, seed: int) -> tuple[list[str], int]:
    """The ten questions that a first round chooses from the pool, and the pairs that it asks for."""
    records = select(dataset, ("train",))
    sample, left = grow_sample(records, [], set(), size, seed), list(answers.questions.questions)
    budget = PairBudget()
    for count in stage_sizes(size):
        asked = {record.image_id for record in sample[:count]}
        budget.spend(left, asked)
        some = answers.about(asked).only([question.key for question in left])
        faults = unfit(some, dataset.class_names)
        left = [question for question in left if question.key not in faults]
    keys = best_questions(some.only([question.key for question in left]), COUNT)
    budget.spend([question for question in left if question.key in keys], answers.image_ids)
    return keys, budget.spent


def error_of(answers: Answers, keys: Sequence[str]) -> float:
    values = 2 * answers.only(keys).p_yes.astype(np.float64) - 1
    _, labels = np.unique(answers.label_names, return_inverse=True)
    return leave_one_out_error(values @ values.T, len(keys), labels)


def read_scenes(folder: Path, engine: str, seed: int) -> tuple[FileDataset, Answers]:
    """The scenes, and all answers about the training images."""
    scenes, file = folder / "scenes", folder / "bundled.yaml"
    if not (scenes / "ground_truth.parquet").exists():
        write_scenes(scenes, train_per_class=24, test_per_class=40, seed=seed)
    bundled = load_questions(BUNDLED)
    write_questions(file, bundled, replace=True)
    aspects(folder, engine, "extract", "--questions", str(file))
    dataset = image_folder(scenes)
    return dataset, read_answers(find_answers(str(folder / "store"), dataset.name, questions=bundled))


def prepare(folder: Path, engine: str, seed: int) -> tuple[FileDataset, Answers, QuestionSet]:
    """As `read_scenes`, and the ten questions that the audit chooses by all answers."""
    dataset, answers = read_scenes(folder, engine, seed)
    aspects(folder, engine, "questions", "audit", str(folder / "bundled.yaml"))
    chosen, _ = select_from_audit(folder / "bundled.yaml", answers.questions, COUNT, str(folder / "store"))
    return dataset, answers, chosen


def random_questions(seed: int) -> QuestionSet:
    questions = load_questions(BUNDLED).questions
    places = sorted(np.random.default_rng([seed, 9]).permutation(len(questions))[:COUNT].tolist())
    return QuestionSet(tuple(questions[place] for place in places))


def improve(
    asked: argparse.Namespace, dataset: FileDataset, answers: Answers, start: QuestionSet, seed: int
) -> tuple[QuestionSet, dict[str, Any]]:
    """The improved set, and facts about its rounds."""
    runs = asked.run_dir / f"seed-{seed}" / f"rounds-{asked.sample}-{asked.share:.3f}"
    runs.mkdir(parents=True, exist_ok=True)
    write_questions(runs / "start.yaml", start, replace=True)
    settings = {**FOLD_SETTINGS, "threads": asked.threads}
    parameters = ImprovementParameters(
        dataset=DatasetParameters(source=str(asked.run_dir / "scenes")),
        questions=str(runs / "start.yaml"),
        pool=str(asked.run_dir / "bundled.yaml"),
        store=str(asked.run_dir / "store"),
        engine=EngineParameters(name=asked.engine),
        sample=asked.sample,
        rounds=asked.rounds,
        budget_pairs=int(asked.share * answers.yes.size),
        student=StudentParameters(recipe="demo", settings=settings, seeds=[seed], runs=str(runs)),
    )
    found = improve_questions(direct_host(terminal()), parameters)
    record = found.record
    return found.questions, {
        "pairs": record.pairs,
        "rounds": len(record.rounds) - 1,
        "best_round": record.best,
        "out_of_fold": [percent(one.top1) for one in record.rounds],
        "stopped": record.stopped,
        "questions": list(found.questions.keys),
    }


def score(dataset: FileDataset, answers: Answers, place: Path, seed: int, threads: int | None) -> float:
    """Top-1 on the test scenes of a student that learns these answers."""
    config = recipe("demo", method="makd", accelerator="cpu", seed=seed, threads=threads)
    train(config, dataset, TeacherAnswers(image=answers), place, progress=False)
    return evaluate(place, dataset, split="test").top1


if __name__ == "__main__":
    run_benchmark(main)
