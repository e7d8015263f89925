"""Ask part of the pairs of image and question and predict the rest: what is lost, and is the bound right?

Oxford 102 Flowers: p(yes) of InternVL2-8B to 50 questions about each of the 2,091 training images (files of MaKD's
authors) stand in for the teacher. 10, 25 and 50 % of the pairs are asked: chosen in rounds as `aspects extract
--budget` does, or at random, as pairs or as whole images. Prints a line of JSON for each share and choice: the mean
|p(yes) - predicted p(yes)| of the pairs that were not asked, whether the certified bound holds in each of 40 draws, and
the time saved on an H100 by the arithmetic of docs/budget.md. `--students` also trains ResNet10t from scratch at 32 px,
with all labels, on all answers, on those of a quarter of the pairs alone, and with the predicted ones added. `--names`
shows few labels and names the other training images by label propagation over the answers; there the choice and the
prediction know no label.

    python bench/budget.py
    python bench/budget.py --draws 0 --names
    python bench/budget.py --draws 0 --students --run-dir runs/budget --threads 1
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.arguments import fraction, natural, positive, run_benchmark, several, student_arguments
from bench.data import read_flowers
from bench.next_labels import shown_of_each
from storage.answers.predicted import LEAST
from storage.answers.read import Answers
from storage.datasets import FileDataset
from teacher.extraction.budget.choice import Pairs
from teacher.extraction.budget.cost import IMAGE_COST
from teacher.extraction.budget.model import fit_model
from teacher.extraction.budget.rounds import Certificate, PairTable

QUESTION_MS = 0.54  # of an 8B teacher on an H100: 20 tokens at 55 % of its peak
IMAGES = 1_000_000  # for which the hours are given
METHODS = "makd,recommended"
LABELS = (2, 5)  # of each class, that --names shows


@dataclass(frozen=True, kw_only=True)
class Draw:
    """The pairs asked by one draw [I, Q], the predicted p(yes) of all pairs, and the certificate where there is one."""

    asked: Pairs
    predicted: NDArray[np.float32]
    certificate: Certificate | None = None


def main() -> None:
    parser = student_arguments(__doc__, "budget", seeds="0,1,2")
    parser.add_argument("--draws", type=natural, default=40, help="0: none, the students alone")
    parser.add_argument(
        "--shares", type=several(fraction), default="0.1,0.25,0.5", help="of the pairs, separated by commas"
    )
    parser.add_argument("--image-cost", type=float, default=IMAGE_COST, help="cost of seeing an image, in questions")
    parser.add_argument("--students", action="store_true", help="train students on a quarter of the pairs")
    parser.add_argument("--names", action="store_true", help="name images from few labels")
    parser.add_argument("--share", type=fraction, default=0.25, help="of the pairs, for the students")
    parser.add_argument("--methods", default=METHODS, help="separated by commas")
    parser.add_argument("--answers", help="those of the students, separated by commas, e.g. all,budget-filled")
    parser.add_argument("--epochs", type=positive, default=16)
    parser.add_argument("--split", default="test", help="test, or validation to choose settings")
    asked = parser.parse_args()
    dataset, answers = read_flowers(asked.run_dir / "store")
    for share in asked.shares if asked.draws else []:
        for name, choose in CHOICES.items():
            draws = [choose(table_of(dataset, answers, draw), answers.p_yes, share) for draw in range(asked.draws)]
            print(json.dumps(describe(name, share, draws, answers.p_yes, asked.image_cost)), flush=True)
            for other, predict in PREDICTIONS.items() if name == "budget" else ():
                tables = [table_of(dataset, answers, draw) for draw in range(asked.draws)]
                others = [predict(table, answers.p_yes, draw) for table, draw in zip(tables, draws, strict=True)]
                print(json.dumps(describe(other, share, others, answers.p_yes, asked.image_cost)), flush=True)
    if asked.names:
        name_images(asked, dataset, answers)
    if asked.students:
        train_students(asked, dataset, answers)


def table_of(dataset: FileDataset, answers: Answers, draw: int) -> PairTable:
    labels = {name: label for label, name in enumerate(dataset.class_names)}
    return PairTable(
        image_ids=answers.image_ids,
        labels=np.array([labels[name] for name in answers.label_names], np.int64),
        classes=len(dataset.class_names),
        keys=answers.questions.keys,
        salt=f"draw {draw}",
    )


def by_rounds(table: PairTable, p_yes: NDArray[np.float32], share: float, image_cost: float = IMAGE_COST) -> Draw:
    """As `aspects extract --budget` chooses."""
    budget = round(share * table.pairs)
    hold_out = table.hold_out(budget)
    most, chosen = table.most_chosen(budget), np.zeros(table.shape, np.bool_)
    while True:
        model = table.fit(chosen, p_yes)
        found = table.next_pairs(chosen, model, most, image_cost)
        if (found == chosen).all():
            break
        chosen = found
    predicted = table.predict(model, chosen, p_yes)
    certificate = table.certify(chosen, p_yes, predicted, budget, 1)
    return Draw(asked=chosen | hold_out, predicted=predicted, certificate=certificate)


def random_pairs(table: PairTable, p_yes: NDArray[np.float32], share: float) -> Draw:
    return predicted_from(table, p_yes, table.numbers < share)


def random_images(table: PairTable, p_yes: NDArray[np.float32], share: float) -> Draw:
    images = np.random.default_rng(int(table.numbers[0, 0] * 2**32)).permutation(len(p_yes))
    asked = np.zeros(table.shape, np.bool_)
    asked[images[: round(share * len(images))]] = True
    return predicted_from(table, p_yes, asked)


def predicted_from(table: PairTable, p_yes: NDArray[np.float32], asked: Pairs) -> Draw:
    """Predicted by the same model."""
    return Draw(asked=asked, predicted=table.predict(table.fit(asked, p_yes), asked, p_yes))


def class_means(table: PairTable, p_yes: NDArray[np.float32], draw: Draw) -> Draw:
    """The same pairs, predicted by the means of the question and the class."""
    known = np.where(draw.asked, p_yes, np.nan)
    means = np.nanmean(known, axis=0)
    sums, counts = (np.zeros((table.classes, len(table.keys))) for _ in range(2))
    np.add.at(sums, table.labels, np.nan_to_num(known - means))
    np.add.at(counts, table.labels, draw.asked)
    return replace(draw, predicted=means + (sums / (counts + 1))[table.labels], certificate=None)


def without_labels(table: PairTable, p_yes: NDArray[np.float32], draw: Draw) -> Draw:
    """The same pairs, predicted without labels: a plain matrix factorisation."""
    unknown, known = np.full(len(p_yes), -1), np.where(draw.asked, p_yes, np.nan)
    return replace(draw, predicted=fit_model(known, unknown, 0).predict(known, unknown), certificate=None)


CHOICES: Mapping[str, Callable[[PairTable, NDArray[np.float32], float], Draw]] = {
    "budget": by_rounds,
    "random pairs": random_pairs,
    "random images": random_images,
}
PREDICTIONS: Mapping[str, Callable[[PairTable, NDArray[np.float32], Draw], Draw]] = {
    "budget, class means": class_means,
    "budget, without labels": without_labels,
}


def describe(
    name: str, share: float, draws: list[Draw], p_yes: NDArray[np.float32], image_cost: float
) -> dict[str, Any]:
    errors = [float(np.abs(p_yes - draw.predicted)[~draw.asked].mean()) for draw in draws]
    flips = [float(((p_yes > 0.5) != (draw.predicted > 0.5))[~draw.asked].mean()) for draw in draws]
    costs = [image_cost * draw.asked.any(axis=1).mean() + draw.asked.sum(axis=1).mean() for draw in draws]
    full, cost = image_cost + p_yes.shape[1], float(np.mean(costs))
    line = {
        "benchmark": "budget",
        "share": share,
        "choice": name,
        "draws": len(draws),
        "images_seen": round(float(np.mean([draw.asked.any(axis=1).mean() for draw in draws])), 3),
        "pairs_asked": round(float(np.mean([draw.asked.mean() for draw in draws])), 3),
        "error": round(float(np.mean(errors)), 4),
        "flips": round(float(np.mean(flips)), 4),
        "cost": round(cost / full, 3),
        "hours_saved": round((full - cost) * QUESTION_MS * IMAGES / 3.6e6, 1),
    }
    certificates = [draw.certificate for draw in draws if draw.certificate is not None]
    if certificates:
        held = [one.bound >= error for one, error in zip(certificates, errors, strict=True)]
        flips_held = [one.flips_bound >= flip for one, flip in zip(certificates, flips, strict=True)]
        line |= {
            "bound": round(float(np.mean([one.bound for one in certificates])), 4),
            "bound_holds": round(float(np.mean(held)), 3),
            "flips_bound": round(float(np.mean([one.flips_bound for one in certificates])), 4),
            "flips_bound_holds": round(float(np.mean(flips_held)), 3),
            "sample": round(float(np.mean([one.sample for one in certificates]))),
        }
    return line


def name_images(asked: argparse.Namespace, dataset: FileDataset, answers: Answers) -> None:
    """A line of JSON for each set of answers and number of labels: images named rightly in percent, labelled ones left
    out."""
    from student.classification.propagation import propagate_labels

    labelled = table_of(dataset, answers, 0)
    for seed in asked.seeds:
        unlabelled = np.full_like(labelled.labels, -1)
        table = replace(labelled, labels=unlabelled, classes=0, salt=f"draw {seed}")
        order = np.random.default_rng(seed).permutation(len(unlabelled))
        for name, given in given_answers(table, answers, asked.share).items():
            log_odds = given.yes - given.no
            for count in LABELS:
                shown = shown_of_each(labelled.labels, order, count)
                used = ~np.isnan(log_odds).all(axis=1) | (shown >= 0)
                found = unlabelled.copy()
                found[used] = propagate_labels([log_odds[used]], shown[used], labelled.classes).argmax(axis=1)
                right = float((found == labelled.labels)[shown < 0].mean())
                line = {
                    "benchmark": "budget, names",
                    "share": asked.share,
                    "answers": name,
                    "labels": count,
                    "seed": seed,
                }
                print(json.dumps({**line, "named": round(100 * right, 1)}), flush=True)


def train_students(asked: argparse.Namespace, dataset: FileDataset, answers: Answers) -> None:
    """A line of JSON for each set of answers and method: top-1 in percent, and what it loses to all answers."""
    from bench.flowers import RECIPE, top1
    from student.classification.examples import TeacherAnswers
    from student.classification.experiment import run_experiment
    from student.classification.grid import StudentGrid

    validation = asked.split == "validation"
    config = RECIPE.replace(
        backbone="resnet10t",
        image_size=32,
        resize_size=32,
        cache_size=32,
        epochs=asked.epochs,
        precision="32-true",
        threads=asked.threads,
        missing_answers="drop",
        val_fraction=0.25 if validation else 0.0,
    )
    grid = StudentGrid(
        settings=config.to_dict(),
        axes={"method": asked.methods.split(",")},
        seeds=asked.seeds,
        baseline={"method": asked.methods.split(",")[0]},
    )
    metric = "val_top1" if validation else "top1"
    whole: dict[str, Any] = {}
    given_sets = given_answers(table_of(dataset, answers, 0), answers, asked.share)
    for name in asked.answers.split(",") if asked.answers else given_sets:
        folder = asked.run_dir / asked.split / name
        given = TeacherAnswers(image=given_sets[name])
        results = run_experiment(grid, dataset, given, folder, split=asked.split)
        for summary in results.metric(metric):
            all_answers = whole.setdefault(summary.cell, summary.values)
            lost = [100 * (one - other) for one, other in zip(all_answers, summary.values, strict=True)]
            line = {"benchmark": "budget, students", "share": asked.share, "answers": name, "method": summary.cell}
            print(json.dumps({**line, **top1(summary), "lost": round(float(np.mean(lost)), 2)}), flush=True)


def given_answers(table: PairTable, answers: Answers, share: float) -> dict[str, Answers]:
    """All answers first, then those of each choice, alone (`asked`) and with predicted ones (`filled`)."""
    found = {"all": answers}
    for name, choose in CHOICES.items():
        draw, place = choose(table, answers.p_yes, share), name.replace(" ", "-")
        found[f"{place}-filled"] = with_values(answers, np.where(draw.asked, answers.p_yes, draw.predicted))
        found[f"{place}-asked"] = with_values(answers, np.where(draw.asked, answers.p_yes, np.nan))
    return found


def with_values(answers: Answers, p_yes: NDArray[np.float32]) -> Answers:
    p_yes = np.clip(p_yes, LEAST, 1 - LEAST)
    return replace(answers, yes=np.log(p_yes).astype(np.float32), no=np.log1p(-p_yes).astype(np.float32))


if __name__ == "__main__":
    run_benchmark(main)
