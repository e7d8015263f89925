"""Which images without a label are worth labelling next? Accuracy of the names that label propagation gives the others.

Oxford 102 Flowers: p(yes) of InternVL2-8B to 50 questions about each of the 2,091 training images (files of MaKD's
authors). A few labels of each class are shown, label propagation over the answers names the other images, and as many
more labels as there are classes are shown, in four rounds after each of which the images are named again: of the images
whose name is the surest, of random ones, of those whose name is the least sure (the order of the page Labels), of those
that are also alike many others, or one more of each class, which knows the labels. Prints a line of JSON for each: the
share of all training images that are named rightly, in percent, those with a shown label counted as right.

    python bench/next_labels.py
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.arguments import numbers, positive, run_benchmark
from bench.data import read_flowers
from student.classification.propagation import propagate_labels, whiten

ROUNDS = 4
NEIGHBOURS = 20

Numbers = NDArray[np.int64]
# The next labels to show, from p(class) of all images, the images that have no label, how many, and a generator.
Choose = Callable[[NDArray[np.floating], Numbers, int, np.random.Generator], Numbers]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=numbers, default="1,2", help="shown of each class at first, by commas")
    parser.add_argument("--draws", type=positive, default=5, help="of the labels that are shown at first")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as store:
        _, answers = read_flowers(Path(store))
    log_odds = answers.yes - answers.no
    names, truth = np.unique(answers.label_names, return_inverse=True)
    choices = {
        "surest": surest,
        "random": at_random,
        "least sure": least_sure,
        "least sure, typical": typical(log_odds),
    }
    for count in asked.labels:
        found: dict[str, list[float]] = {}
        for draw in range(asked.draws):
            order = np.random.default_rng(draw).permutation(len(truth))
            start = shown_of_each(truth, order, count)
            found.setdefault("none", []).append(score(log_odds, start, truth)[0])
            for name, choose in choices.items():
                found.setdefault(name, []).append(label_more(log_odds, start, truth, choose, len(names), draw))
            one_more = shown_of_each(truth, order, count + 1)
            found.setdefault("one of each class", []).append(score(log_odds, one_more, truth)[0])
        for name, shares in found.items():
            line = {"benchmark": "next labels", "labels_per_class": count, "more": name, "draws": len(shares)}
            line |= {"named": round(100 * float(np.mean(shares)), 1)}
            print(json.dumps({**line, "std": round(100 * float(np.std(shares, ddof=1)), 1)}), flush=True)


def shown_of_each(truth: Numbers, order: Numbers, count: int) -> Numbers:
    """The labels [N] of the first `count` images of each class in `order`, -1 for the others."""
    shown = np.full_like(truth, -1)
    for label in range(truth.max() + 1):
        shown[order[truth[order] == label][:count]] = label
    return shown


def score(log_odds: NDArray[np.floating], shown: Numbers, truth: Numbers) -> tuple[float, NDArray[np.floating]]:
    """The share of images that are named rightly, and p(class) of all."""
    p_NC = np.exp(propagate_labels([log_odds], shown, truth.max() + 1))
    named = np.where(shown >= 0, shown, p_NC.argmax(axis=1))
    return float((named == truth).mean()), p_NC


def label_more(
    log_odds: NDArray[np.floating], start: Numbers, truth: Numbers, choose: Choose, count: int, seed: int
) -> float:
    """The share of images that are named rightly after `count` more labels in ROUNDS rounds."""
    shown, generator = start.copy(), np.random.default_rng([seed, 1])
    share, p_NC = score(log_odds, shown, truth)
    for part in np.array_split(np.arange(count), ROUNDS):
        chosen = choose(p_NC, np.flatnonzero(shown < 0), len(part), generator)
        shown[chosen] = truth[chosen]
        share, p_NC = score(log_odds, shown, truth)
    return share


def surest(p_NC: NDArray[np.floating], left: Numbers, count: int, _: np.random.Generator) -> Numbers:
    return left[np.argsort(-p_NC[left].max(axis=1))[:count]]


def least_sure(p_NC: NDArray[np.floating], left: Numbers, count: int, _: np.random.Generator) -> Numbers:
    return left[np.argsort(p_NC[left].max(axis=1))[:count]]


def at_random(_: NDArray[np.floating], left: Numbers, count: int, generator: np.random.Generator) -> Numbers:
    return generator.choice(left, count, replace=False)


def typical(log_odds: NDArray[np.floating]) -> Choose:
    """The least sure by their margin, weighed by their similarity to their neighbours, and unlike each other."""
    rows = whiten(log_odds)
    alike_NN = rows @ rows.T
    dense_N = np.sort(alike_NN, axis=1)[:, -NEIGHBOURS:].mean(axis=1)

    def choose(p_NC: NDArray[np.floating], left: Numbers, count: int, _: np.random.Generator) -> Numbers:
        highest = np.sort(p_NC[left], axis=1)
        worth = (1 - highest[:, -1] + highest[:, -2]) * dense_N[left]
        near, chosen = np.zeros(len(left)), list[int]()
        for _number in range(count):
            best = int((worth * (1 - near)).argmax())
            chosen.append(best)
            near = np.maximum(near, alike_NN[left[best], left])
            near[best] = 1
        return left[chosen]

    return choose


if __name__ == "__main__":
    run_benchmark(main)
