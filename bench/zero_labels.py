"""Accuracy of students without any label: classes learned from answers about them alone.

Rendered scenes of 12 classes, 24 training and 20 test images each, and the answers of the bundled teacher to 50
questions about each training image. Two sets of classes: `clans`, those of the demo, each of four forms (a colour on a
ground) that no single question tells apart, and `colours`, a colour and a number of objects, which questions name.

Answers about the classes to the same questions: `frequencies`, the share of yes among 100 other scenes of the class,
and `stand-in`, an imitation of an LLM that answers from the name: the more frequent of yes and no, 15 % of them wrong.
No LLM is asked. Seeds draw these scenes, the wrong answers, the labels that are shown, and the students.

Prints a line of JSON for each way of naming the training images and for each student, after every seed the means so
far; top-1 in percent. No setting of the students was chosen on these scenes; docs/experiments.md says how the formula
was. With the same --run-dir it resumes.

    python bench/zero_labels.py --run-dir runs/zero-labels --threads 1
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit, logit

from bench.arguments import natural, one_of, positive, run_benchmark, several, student_arguments
from bench.flowers import percent
from storage.answers.read import Answers, find_answers, load_answers, read_answers
from storage.datasets import FileDataset, image_folder
from storage.datasets.scenes.classification import (
    CLANS,
    COMPANIES,
    DEMO_CLASSES,
    FORM_COLOURS,
    FORM_KINDS,
    sample_form,
    write_scenes,
)
from storage.datasets.scenes.drawing import render
from storage.datasets.scenes.folder import GROUND_TRUTH
from storage.datasets.scenes.scene import Scene, ground_truth, sample_scene
from storage.questions import load_questions
from student.classification.class_matching import class_log_odds, match_classes
from student.classification.config import StudentConfig
from student.classification.evaluate import evaluate
from student.classification.examples import TeacherAnswers, join_examples, training_records
from student.classification.recipes import recipe
from student.classification.training import train
from student.core.examples import log_odds_of
from teacher.extraction.precomputed import import_answers, read_attributes

PROJECT = Path(__file__).parents[1]
QUESTIONS = PROJECT / "questions" / "scenes.yaml"
KINDS = "colours", "clans"
ASPECTS = Path(sys.executable).with_name("aspects")
TRAIN, TEST, SCENES_SEED = 24, 20, 10
OTHER_SCENES, WRONG = 100, 0.15
ABOUT_CLASSES = ("frequencies", "stand-in")


def main() -> None:
    parser = student_arguments(__doc__, "zero-labels", seeds="0,1,2", engine="transformers")
    parser.add_argument(
        "--kinds", type=several(one_of(KINDS)), default=list(KINDS), help="sets of classes, separated by commas"
    )
    parser.add_argument("--draw", type=natural, default=0, help="draw of the scenes")
    parser.add_argument("--epochs", type=positive, default=30)
    asked = parser.parse_args()
    config = recipe("demo", epochs=asked.epochs, threads=asked.threads, accelerator="cpu", method="recommended")
    scenes = {kind: read_scenes(asked.run_dir, kind, asked.draw, asked.engine) for kind in asked.kinds}
    found: dict[str, dict[str, list[float]]] = {kind: {} for kind in asked.kinds}
    for seed, kind in itertools.product(asked.seeds, asked.kinds):
        dataset, about_images = scenes[kind]
        place, seeded = asked.run_dir / f"{dataset.name}-students" / f"seed-{seed}", config.replace(seed=seed)
        known = {}
        for name in ABOUT_CLASSES:
            of_classes = read_about_classes(asked.run_dir, dataset, kind, name, seed)
            known[name] = TeacherAnswers(image=about_images, classes=of_classes)
        for what, accuracy in [*names(seeded, dataset, known), *students(seeded, dataset, known, place)]:
            found[kind].setdefault(what, []).append(accuracy)
        print_lines(kind, found[kind], len(dataset.class_names))


def read_scenes(folder: Path, kind: str, draw: int, engine: str) -> tuple[FileDataset, Answers]:
    """The scenes, drawn if they are not there yet, and the teacher's answers about the training images."""
    scenes, store = folder / f"{kind}{draw}", str(folder / "store")
    if not (scenes / GROUND_TRUTH).exists():
        if kind == "clans":
            write_scenes(scenes, train_per_class=TRAIN, test_per_class=TEST, seed=SCENES_SEED + draw)
        else:
            write_colours(scenes, SCENES_SEED + draw)
    command = ["extract", "--dataset", str(scenes), "--questions", str(QUESTIONS), "--store", store]
    subprocess.run([str(ASPECTS), *command, "--engine", engine], check=True, stdout=subprocess.DEVNULL)
    dataset = image_folder(scenes)
    return dataset, read_answers(find_answers(store, dataset.name, questions=load_questions(QUESTIONS), level="image"))


def write_colours(root: Path, seed: int) -> None:
    """Scenes of classes such as `red_pair`, as `write_scenes` writes those of the demo."""
    answers = []
    for split_number, (split, count) in enumerate((("train", TRAIN), ("test", TEST))):
        for class_number, name in enumerate(class_names("colours")):
            (root / split / name).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                rng = np.random.default_rng((seed, split_number, class_number, number))
                scene = sample("colours", class_number, number, rng)
                path = root / split / name / f"{number:04}.png"
                render(scene, rng).save(path)
                answers.append({"image_id": path.relative_to(root).as_posix(), **ground_truth(scene)})
    pl.DataFrame(answers).write_parquet(root / GROUND_TRUTH)


def class_names(kind: str) -> list[str]:
    first = CLANS if kind == "clans" else FORM_COLOURS
    return [f"{one}_{company}" for one in first for company in COMPANIES]


def sample(kind: str, class_number: int, number: int, rng: np.random.Generator) -> Scene:
    """A scene of a class, in the form or on the ground of that number."""
    clan, company = DEMO_CLASSES[class_number]
    if kind == "clans":
        return sample_form(rng, clan, company, number % len(FORM_COLOURS))
    colour, ground = FORM_COLOURS[CLANS.index(clan)], FORM_KINDS[number % len(FORM_KINDS)]
    return sample_scene(rng, colour=colour, kind=ground, counts=COMPANIES[company])


def read_about_classes(folder: Path, dataset: FileDataset, kind: str, name: str, seed: int) -> Answers:
    """Answers about the classes, imported from a table as a user would."""
    keys = load_questions(QUESTIONS).keys
    yes_CQ = np.zeros((len(DEMO_CLASSES), len(keys)))
    for class_number in range(len(DEMO_CLASSES)):
        for number in range(OTHER_SCENES):
            rng = np.random.default_rng((seed, 7, class_number, number))
            truth = ground_truth(sample(kind, class_number, number, rng))
            yes_CQ[class_number] += [truth[key] / OTHER_SCENES for key in keys]
    if name == "stand-in":
        wrong = np.random.default_rng((seed, 8)).random(yes_CQ.shape) < WRONG
        yes_CQ = ((yes_CQ > 0.5) ^ wrong).astype(float)
    table = folder / f"{dataset.name}-{name}-{seed}.csv"
    pl.DataFrame({"label_name": class_names(kind), **dict(zip(keys, yes_CQ.T, strict=True))}).write_csv(table)
    answers = read_attributes(table, load_questions(QUESTIONS))
    return load_answers(import_answers(answers, dataset, ("train",), str(folder / "store")).directory)


def names(
    config: StudentConfig, dataset: FileDataset, known: Mapping[str, TeacherAnswers]
) -> Iterator[tuple[str, float]]:
    """Accuracy of the classes that training images are named by, without a label and with one of each class."""
    records = training_records(dataset)
    truth_N = np.array([record.label for record in records])
    for name, given in known.items():
        assert given.image is not None
        assert given.classes is not None
        images = log_odds_of(dataset, records, given.image)
        classes = class_log_odds(given.classes, dataset.class_names, given.image.questions)
        for how, match in (("without calibration", uncalibrated), ("matched", match_classes)):
            yield f"names, {how}, {name}", float((match(images, classes).argmax(axis=1) == truth_N).mean())
    few = {"one label": TeacherAnswers(image=known[ABOUT_CLASSES[0]].image)}
    for labels, arms in ((0, known), (1, few | {f"one label, {name}": given for name, given in known.items()})):
        for name, given in arms.items():
            examples = join_examples(config.replace(labels_per_class=labels), dataset, records, given)
            hidden = (examples.labels_N < 0).numpy()
            found_N = examples.targets[-1].numpy()[hidden].argmax(axis=1)
            yield f"names, propagated, {name}", float((found_N == truth_N[hidden]).mean())


def uncalibrated(images_NQ: NDArray[np.float32], classes_CQ: NDArray[np.float32]) -> NDArray[np.float64]:
    """Log-likelihood [N, C] of p(yes) of each image under that of each class, as if both spoke on one scale."""
    p_NQ, p_CQ = expit(images_NQ), expit(classes_CQ).clip(0.01, 0.99)
    found: NDArray[np.float64] = p_NQ @ logit(p_CQ).T + np.log1p(-p_CQ).sum(axis=1)
    return found


def students(
    config: StudentConfig, dataset: FileDataset, known: Mapping[str, TeacherAnswers], place: Path
) -> Iterator[tuple[str, float]]:
    """Top-1 on the test images."""
    images_only = TeacherAnswers(image=known[ABOUT_CLASSES[0]].image)
    arms: dict[str, tuple[Mapping[str, Any], TeacherAnswers]] = {
        **{f"no label, {name}": ({"labels_per_class": 0}, given) for name, given in known.items()},
        "one label": ({"labels_per_class": 1}, images_only),
        "one label, frequencies": ({"labels_per_class": 1}, known["frequencies"]),
        "all labels": ({}, images_only),
    }
    for name, (changes, given) in arms.items():
        run = place / name.replace(", ", "-").replace(" ", "-")
        train(config.replace(**changes), dataset, given, run, progress=False)
        yield f"student, {name}", evaluate(run, dataset, split="test").top1


def print_lines(kind: str, found: Mapping[str, list[float]], classes: int) -> None:
    for what, values in {"random": [1 / classes], **found}.items():
        line: dict[str, Any] = {"benchmark": f"zero labels, {kind}", "what": what}
        line |= {"top1": percent(float(np.mean(values))), "seeds": len(values)}
        if len(values) > 1:
            line["std"] = percent(float(np.std(values, ddof=1)))
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    run_benchmark(main)
