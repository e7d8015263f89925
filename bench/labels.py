"""Wrong labels that `aspects labels audit` finds.

Oxford 102 Flowers at 160 px with 5, 10 and 20 % of the labels flipped, at random or to the most similar class, in five
draws.

Ranks the 2,091 training images by the answers, by out-of-fold students (a linear probe on a frozen EfficientNet-Lite0
with ImageNet weights, five folds), and by both; against confident learning (Northcutt et al., JAIR 2021; the package
cleanlab) on the same out-of-fold students. The answers are p(yes) of InternVL2-8B to 50 questions about each image
(files of MaKD's authors). Prints a line of JSON for each kind and share of flips: average precision, and precision at
k = number of flips. With the same --run-dir it resumes.

    pip install --constraint constraints.txt '.[bench]'
    python bench/labels.py --run-dir runs/labels --threads 1
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from bench.arguments import existing_file, positive, run_benchmark, several, student_arguments
from bench.data import read_flowers
from bench.few_labels import SHARED, bundled_weights
from bench.flowers import describe, percent
from storage.answers.read import Answers
from storage.datasets.base import ImageDataset, ImageRecord, select
from student.classification.config import StudentConfig
from student.classification.features import SharedFeatures, backbone_features
from student.classification.fold_students import train_out_of_fold
from student.classification.images import evaluation_cache
from student.classification.label_audit import audit_labels
from student.classification.out_of_fold import OutOfFold
from student.classification.propagation import whiten
from student.classification.recipes import recipe
from student.classification.targets import means_by_class
from student.core.examples import log_odds_of
from student.core.results import paired_difference

KINDS = ("random", "similar")
SCORES = ("average_precision", "precision_at_k")
RIVALS = ("student", "confident-learning", "confident-learning-margin")


def main() -> None:
    parser = student_arguments(__doc__, "labels", seeds="0,1,2,3,4", seeds_of="draws of the flips")
    parser.add_argument(
        "--shares", type=several(positive), default="5,10,20", help="flipped labels in percent, separated by commas"
    )
    parser.add_argument("--folds", type=positive, default=5)
    parser.add_argument("--epochs", type=positive, default=20, help="fewer than the recipe's, for a CPU")
    parser.add_argument("--weights", type=existing_file, help="ImageNet weights; default: those of the extra 'bench'")
    asked = parser.parse_args()
    dataset, answers = read_flowers(asked.run_dir / "store")
    dataset = dataset.subset(select(dataset, ("train",)))
    config = recipe("probe", **SHARED, weights=str(asked.weights or bundled_weights()), threads=asked.threads)
    config = config.replace(method="base", epochs=asked.epochs)
    similar = most_similar_classes(dataset, answers, config, asked.run_dir)
    seeds, features = asked.seeds, SharedFeatures()
    for kind in KINDS:
        for share in (percents / 100 for percents in asked.shares):
            found: dict[int, dict[str, dict[str, float]]] = {}
            for seed in seeds:
                flipped, wrong_N = flip(dataset, share, similar if kind == "similar" else None, seed)
                students = train_out_of_fold(
                    config.replace(seed=seed), flipped, asked.run_dir, folds=asked.folds, features=features
                )
                orders = dict(rankings(flipped, answers, students))
                found[seed] = {name: score(order, wrong_N) for name, order in orders.items()}
            print(json.dumps(summary(kind, share, int(wrong_N.sum()), found)), flush=True)


def flip(
    dataset: ImageDataset, share: float, similar_C: NDArray[np.int64] | None, seed: int
) -> tuple[ImageDataset, NDArray[np.bool_]]:
    """The dataset with `share` of its labels changed, to any other class or to the most similar one, and which [N]."""
    generator = np.random.default_rng([seed, 11])
    labels_N = np.array([record.label for record in dataset.records])
    chosen = generator.permutation(len(labels_N))[: round(share * len(labels_N))]
    classes = len(dataset.class_names)
    others = (labels_N[chosen] + generator.integers(1, classes, len(chosen))) % classes
    labels_N[chosen] = others if similar_C is None else similar_C[labels_N[chosen]]
    wrong_N = np.zeros(len(labels_N), dtype=bool)
    wrong_N[chosen] = True
    return relabelled(dataset, labels_N), wrong_N


def relabelled(dataset: ImageDataset, labels_N: Sequence[int] | NDArray[np.int64]) -> ImageDataset:
    names = dataset.class_names
    records: list[ImageRecord] = [
        replace(record, label=int(label), label_name=names[int(label)])
        for record, label in zip(dataset.records, labels_N, strict=True)
    ]
    return dataset.subset(records)


def most_similar_classes(
    dataset: ImageDataset, answers: Answers, config: StudentConfig, folder: Path
) -> NDArray[np.int64]:
    """For each class the one with the most similar mean [C], by answers and features alike: the sum of the cosines."""
    labels_N = np.array([record.label for record in dataset.records])
    with evaluation_cache(config, dataset, dataset.records, folder) as images:
        features = backbone_features(config, images)
    total = np.zeros((len(dataset.class_names),) * 2)
    for values in (log_odds_of(dataset, dataset.records, answers), features):
        means = means_by_class(whiten(values), labels_N, len(dataset.class_names))
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        total += means @ means.T
    np.fill_diagonal(total, -np.inf)
    return total.argmax(axis=1)


def rankings(dataset: ImageDataset, answers: Answers, students: OutOfFold) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Places of the dataset's images [N], the most suspicious first, by each way."""
    place = {record.image_id: number for number, record in enumerate(dataset.records)}
    ways: Mapping[str, tuple[Answers | None, OutOfFold | None]] = {
        "answers": (answers, None),
        "student": (None, students),
        "answers+student": (answers, students),
    }
    for name, (said, seen) in ways.items():
        table = audit_labels(dataset, said, seen).table.filter(pl.col("wrong").is_not_null())
        yield name, np.array([place[image_id] for image_id in table["image_id"]])
    labels_N = np.array([record.label for record in dataset.records])
    p_NC = np.exp(
        students.log_p_NC[students.places_of([record.image_id for record in dataset.records])].astype(np.float64)
    )
    yield "confident-learning", confident_learning(labels_N, p_NC, "self_confidence")
    yield "confident-learning-margin", confident_learning(labels_N, p_NC, "normalized_margin")


def confident_learning(labels_N: NDArray[np.int64], p_NC: NDArray[np.float64], by: str) -> NDArray[np.int64]:
    """The label issues that cleanlab finds by its default rule, then all other images, both ordered by its score."""
    try:
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores
    except ImportError:
        sys.exit("the package cleanlab is missing; install the extra 'bench'")
    p_NC = p_NC / p_NC.sum(axis=1, keepdims=True)
    issues_N = find_label_issues(labels_N, p_NC, n_jobs=1)
    quality_N = get_label_quality_scores(labels_N, p_NC, method=by)
    return np.lexsort((quality_N, ~issues_N))


def score(order_N: NDArray[np.int64], wrong_N: NDArray[np.bool_]) -> dict[str, float]:
    found_N = wrong_N[order_N]
    return {
        "average_precision": float(average_precision_score(found_N, -np.arange(len(found_N)))),
        "precision_at_k": float(found_N[: wrong_N.sum()].mean()),
    }


def summary(
    kind: str, share: float, flips: int, found: Mapping[int, Mapping[str, Mapping[str, float]]]
) -> dict[str, Any]:
    """Means over the seeds in percent, and what both gain over each rival, with 95 % intervals over the seeds."""
    names = list(next(iter(found.values())))
    line: dict[str, Any] = {"benchmark": "flowers, wrong labels", "flips": kind, "share": share, "flipped": flips}
    for metric in SCORES:
        values = {name: {seed: scores[name][metric] for seed, scores in found.items()} for name in names}
        line[metric] = {name: percent(float(np.mean(list(by_seed.values())))) for name, by_seed in values.items()}
        line[f"{metric}_of_both_over"] = {
            rival: describe(paired_difference(values["answers+student"], values[rival])) for rival in RIVALS
        }
    return line


if __name__ == "__main__":
    run_benchmark(main)
