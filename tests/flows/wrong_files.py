"""A folder of inputs that are wrong in one way each, beside one of every kind that is right."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import polars as pl
import yaml
from PIL import Image

from tests.storage.datasets.yolo.test_dataset import write_yolo

QUESTION = "questions: [{key: is_red, text: 'Is it red?'}, {key: is_big, text: 'Is it big?'}]\n"
BOMB = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + level)}: &{chr(98 + level)} [{', '.join([f'*{chr(97 + level)}'] * 8)}]\n" for level in range(9)
)
GRID = {"dataset": {"source": "photos"}, "store": "store", "runs": "runs/grid", "grid": {"alpha": [1, 4]}}
# Files that no reader of text takes, whatever it expects in them.
UNREADABLE = {
    "binary": bytes(range(256)),
    "utf16": "questions: []".encode("utf-16"),
    "deep": b"[" * 20_000,
    "bomb": BOMB.encode(),
    "tab": b"a:\n\t- b",
}
QUESTION_SETS: dict[str, object] = {
    "nothing": None,
    "word": "word",
    "no-list": {"questions": 7},
    "none": {"questions": []},
    "no-text": {"questions": [{"key": "a"}]},
    "number": {"questions": [{"key": "a", "text": 7}]},
    "bad-key": {"questions": [{"key": "Is it", "text": "Is it?"}]},
    "reserved": {"questions": [{"key": "image_id", "text": "Is it?"}]},
    "twice": {"questions": [{"key": "a", "text": "Is it?"}, {"key": "a", "text": "Is it not?"}]},
    "same-text": {"questions": [{"key": "a", "text": "Is it?"}, {"key": "b", "text": "is it? "}]},
    "extra": {"questions": [{"key": "a", "text": "Is it?", "weight": 2}]},
    "blank": {"questions": [{"key": "a", "text": " "}]},
}
EXPERIMENTS: dict[str, object] = {
    "e-nothing": None,
    "e-list": [1],
    "e-no-grid": {**GRID, "grid": {}},
    "e-empty-axis": {**GRID, "grid": {"alpha": []}},
    "e-unknown-axis": {**GRID, "grid": {"speed": [1]}},
    "e-no-runs": {name: value for name, value in GRID.items() if name != "runs"},
    "e-unknown": {**GRID, "colour": "red"},
    "e-seeds": {**GRID, "seeds": ["a"]},
    "e-same-seeds": {**GRID, "seeds": [1, 1]},
    "e-negative-seed": {**GRID, "seeds": [-1]},
    "e-no-seeds": {**GRID, "seeds": []},
    "e-recipe": {**GRID, "recipe": "huge"},
    "e-method": {**GRID, "grid": {"method": ["mkad"]}},
    "e-epochs": {**GRID, "settings": {"epochs": "many"}},
    "e-dataset": {**GRID, "dataset": {"source": "nowhere"}},
    "e-dataset-word": {**GRID, "dataset": "photos"},
    "e-store": {**GRID, "store": "empty"},
    "e-task": {**GRID, "task": "segmentation"},
    "e-baseline": {**GRID, "baseline": {"method": "mkad"}},
    "e-split": {**GRID, "split": "tset"},
    "e-boxes": {**GRID, "task": "detection", "questions": "questions.yaml"},
}
# A box of YOLO that cannot be, by the dataset's name.
BOXES = {
    "boxed": "0 0.5 0.5 1 1",
    "negative": "0 0.5 0.5 -0.5 0.5",
    "outside": "0 1.5 0.5 0.5 0.5",
    "unknown": "3 0.5 0.5 0.5 0.5",
    "words": "a b c d e",
    "empty-boxes": "",
}
RUNS = {
    "empty": "",
    "no-json": "{",
    "list": "[]",
    "nothing": "{}",
    "null": "null",
}


def write_images(root: Path) -> None:
    """Two classes, two images of each in train and one in test."""
    for split, count in (("train", 2), ("test", 1)):
        for label, name in enumerate(("cat", "dog")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(np.full((16, 16, 3), 100 * label + number, np.uint8)).save(folder / f"{number}.png")


def write_project(folder: Path) -> None:
    """`photos`, `boxed`, `questions.yaml`, `attributes.csv` and `grid.yaml` are right."""
    write_images(folder / "photos")
    _write_datasets(folder)
    (folder / "questions.yaml").write_text(QUESTION)
    (folder / "classes.txt").write_text("cat\ndog\n")
    for name, data in UNREADABLE.items():
        (folder / f"{name}.yaml").write_bytes(data)
        (folder / f"{name}.json").write_bytes(data)
    for name, document in {**QUESTION_SETS, **EXPERIMENTS, "grid": GRID}.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(document))
    (folder / "huge.yaml").write_bytes(b"# " + b"x" * (20 << 20))
    (folder / "empty.txt").write_text("")
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    pl.DataFrame({"label_name": ["cat", "dog"], "is_red": [1.0, 0.0], "is_big": [0.5, 0.5]}).write_csv(
        folder / "attributes.csv"
    )
    _write_answers(folder)
    for name, text in RUNS.items():
        (folder / "runs" / name).mkdir(parents=True)
        (folder / "runs" / name / "run.json").write_text(text)
        (folder / "runs" / name / "result.json").write_text(text)


def _write_datasets(folder: Path) -> None:
    for name, boxes in BOXES.items():
        write_yolo(folder / name, boxes=boxes, data="train: images/train\nnames: [a, b]\n")
    (folder / "loose").mkdir()
    (folder / "loose" / "a.png").write_bytes(b"")
    (folder / "no-classes" / "train").mkdir(parents=True)
    (folder / "no-images" / "train" / "cat").mkdir(parents=True)
    coco = folder / "coco" / "annotations"
    coco.mkdir(parents=True)
    (coco / "instances_train.json").write_text("{}")
    (folder / "yolo").mkdir()
    (folder / "yolo" / "data.yaml").write_bytes(UNREADABLE["bomb"])


def _write_answers(folder: Path) -> None:
    """Files of answers from elsewhere, and stores that are none."""
    for name, document in {
        "m-list": [1],
        "m-empty": {},
        "m-range": {"0.png": [7, 0]},
        "m-words": {"0.png": "x"},
    }.items():
        (folder / f"{name}.json").write_text(json.dumps(document))
    (folder / "t-none.csv").write_text("a,b\n1,2\n")
    (folder / "t-words.csv").write_text("label_name,is_red\ncat,yes\n")
    (folder / "t-twice.csv").write_text("label_name,is_red\ncat,1\ncat,0\n")
    (folder / "t-range.csv").write_text("label_name,is_red\ncat,7\n")
    (folder / "t-binary.csv").write_bytes(UNREADABLE["binary"])
    (folder / "t-binary.parquet").write_bytes(UNREADABLE["binary"])
    (folder / "stored").write_text("a file, no store")
    (folder / "empty").mkdir()
