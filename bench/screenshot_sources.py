"""What bench/screenshots.py shows, made in a folder where it is not there: rendered scenes, the answers of the bundled
teacher about them, students, an unfinished extraction, corrections, and a detector."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from bench.demo_site import train_students
from storage.answers.directories import answer_directories
from storage.answers.read import load_answers, read_answers
from storage.answers.schema import ShardAnswers
from storage.answers.shards import cut_shards
from storage.answers.store import AnswerDirectory
from storage.corrections import Correction, CorrectionFolder, current_corrections
from storage.corrections.queue import Queue
from storage.datasets import image_folder, open_detection_dataset
from storage.datasets.scenes.classification import write_scenes
from storage.datasets.scenes.detection import write_detection_scenes
from student.classification.recipes import RECIPES
from student.detection.config import detection_recipe
from student.detection.evaluate import evaluate_detector
from student.detection.examples import DetectionAnswers
from student.detection.training import train_detector
from view.corrections import as_drawn
from view.sources import Sources

PROJECT = Path(__file__).parents[1]
MARK = "/moved-"  # in the ids of scenes that are filed under another class
MOVED = 12  # training scenes that are filed under another class
METHODS = ("base", "recommended-without-answers", "recommended")
SEEDS = (0, 1, 2)
SHARD = 24  # images of a shard of the unfinished extraction
CHECKED = 60  # answers of the queue
USER = "ada"


def demo_sources(folder: Path, seeds: Sequence[int] = SEEDS, **settings: Any) -> Sources:
    """Scenes, their answers and students of three methods by the recipe `demo` with other `settings`."""
    scenes, store, runs = folder / "scenes", folder / "store", folder / "runs"
    if not scenes.is_dir():
        unfinished = folder / "unfinished"
        write_scenes(unfinished, train_per_class=30, test_per_class=10, seed=0)
        move_some(unfinished)
        unfinished.rename(scenes)
    options = ["-q", "scenes", "-t", "tiny", "--engine", "transformers", "--splits", "train,test", "-s", str(store)]
    subprocess.run([sys.executable, "-m", "flows", "extract", "-d", str(scenes), *options], cwd=PROJECT, check=True)
    dataset = image_folder(scenes)
    answers = load_answers(answer_directories(str(store))[0].path)
    train_students(dataset, answers, runs, METHODS, seeds, **{**RECIPES["demo"], **settings})
    return Sources(str(store), folder / "cache", runs=(runs,), dataset=dataset)


def move_some(scenes: Path) -> None:
    """File MOVED training scenes under the class behind theirs."""
    chance = random.Random(0)
    classes = sorted(path for path in (scenes / "train").iterdir() if path.is_dir())
    for place in chance.sample(range(len(classes)), MOVED):
        wrong = classes[(place + 1) % len(classes)]
        path = chance.choice(sorted(classes[place].glob("[0-9]*.png")))
        path.rename(wrong / f"moved-{path.name}")


def running_sources(folder: Path, demo: Sources) -> Sources:
    """The first 60 % of an extraction whose newest shard was written just now, and a training after 12 epochs."""
    store, runs = folder / "running" / "store", folder / "running" / "runs"
    shutil.rmtree(folder / "running", ignore_errors=True)
    stored = answer_directories(demo.store)[0]
    answers, header = read_answers(stored), demo.answers().columns.header
    directory = AnswerDirectory.locate(str(store), answers.dataset, answers.teacher, answers.questions.fingerprint)
    assert demo.dataset is not None
    place = {image_id: row for row, image_id in enumerate(answers.image_ids)}
    shards = cut_shards(demo.dataset.records, SHARD)
    done, now = shards[: round(0.6 * len(shards))], time.time()
    for number, shard in enumerate(done):
        rows = [place[record.image_id] for record in shard.records]
        part = ShardAnswers(
            records=shard.records,
            image_sha256=[answers.image_sha256[row] for row in rows],
            errors=[answers.errors[row] for row in rows],
            yes=answers.yes[rows],
            no=answers.no[rows],
        )
        directory.write_shard(shard, header, part)
        written = now - 9.0 * (len(done) - 1 - number)
        newest = max(Path(directory.path).glob("part-*.parquet"), key=lambda path: path.name)
        os.utime(newest, (written, written))
    finished = next(run for run in demo.student_runs() if run.config.get("method") == "recommended")
    shutil.copytree(finished.folder, runs / "recommended-seed-0", ignore=shutil.ignore_patterns("result.json", "eval*"))
    return Sources(str(store), folder / "cache", runs=(runs,), dataset=demo.dataset)


def corrected_sources(folder: Path, demo: Sources) -> Sources:
    """The store with CHECKED answers of the queue checked by what is true, and the moved scenes put right."""
    store = folder / "corrected"
    shutil.rmtree(store, ignore_errors=True)
    shutil.copytree(demo.store, store)
    truth = pl.read_parquet(folder / "scenes" / "ground_truth.parquet")
    assert demo.dataset is not None
    classes = demo.dataset.class_names
    corrections = CorrectionFolder.open(str(store), demo.dataset.name)
    right = [
        Correction(image_id=one.image_id, kind="label", value=true_class(one.image_id, classes), old=one.label_name)
        for one in demo.dataset.records
        if MARK in one.image_id
    ]
    corrections.record(right, USER)
    queue = Queue.of(read_answers(answer_directories(str(store))[0]))
    rows = {name: row for row, name in enumerate(truth["image_id"])}
    checked = []
    for item in queue.next_items(current_corrections([]), CHECKED):
        split, _, name = item.image_id.split("/")
        row = rows[f"{split}/{true_class(item.image_id, classes)}/{name.removeprefix('moved-')}"]
        value = "yes" if truth[item.key][row] else "no"
        said = "yes" if item.p_yes > 0.5 else "no"
        answer = Correction(
            image_id=item.image_id,
            kind="answer",
            key=item.key,
            text=item.text,
            value=value,
            old=said,
            p_yes=item.p_yes,
        )
        checked.append(as_drawn(answer, item))
    corrections.record(checked, USER)
    return Sources(str(store), folder / "cache", runs=demo.runs, dataset=demo.dataset)


def true_class(image_id: str, classes: Sequence[str]) -> str:
    """The class of a scene: of a moved one, the class before that of its folder."""
    name = image_id.split("/")[1]
    return classes[classes.index(name) - 1] if MARK in image_id else name


def boxed_sources(folder: Path) -> Sources:
    """Scenes of several objects and a detector that was trained on them."""
    scenes, run = folder / "boxes", folder / "detectors" / "base"
    if not scenes.is_dir():
        write_detection_scenes(scenes, train=120, test=24, seed=0)
    dataset = open_detection_dataset(str(scenes))
    train_detector(detection_recipe("demo", method="base"), dataset, DetectionAnswers(), run, progress=False)
    evaluate_detector(run, dataset, None, "test", progress=False)
    return Sources(str(folder / "store"), folder / "cache", runs=(run.parent,), dataset=dataset)
