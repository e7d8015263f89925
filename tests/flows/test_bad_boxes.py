"""A detection dataset that cannot be used ends the command with one line, before anything is asked."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PROJECT
from tests.flows.conftest import Aspects
from tests.storage.datasets.tiny_images import draw, write


def coco(root: Path, **changes: Any) -> None:
    draw(root / "train" / "1.jpg")
    document = {
        "images": [{"id": 1, "file_name": "1.jpg", "width": 8, "height": 8}],
        "annotations": [{"id": 5, "image_id": 1, "category_id": 1, "bbox": [0, 0, 4, 4]}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    write(root / "annotations" / "instances_train.json", json.dumps({**document, **changes}))


def yolo(root: Path, labels: str = "labels", data: str = "") -> None:
    draw(root / "images" / "1.jpg")
    write(root / labels / "1.txt", "0 0.5 0.5 0.5 0.5\n")
    write(root / "data.yaml", data or "train: images\nnames: [cat]\n")


def pipe(root: Path) -> None:
    coco(root)
    (root / "annotations" / "instances_train.json").unlink()
    os.mkfifo(root / "annotations" / "instances_train.json")


@pytest.mark.parametrize(
    ("make", "wanted"),
    [
        (lambda root: coco(root, annotations=[{"id": 5, "image_id": 1, "category_id": 1, "bbox": []}]), "bbox is []"),
        (lambda root: coco(root, images={}), "has no list 'images'"),
        (lambda root: coco(root, annotations=[]), "has no boxes"),
        (pipe, "is a device or a pipe"),
        (lambda root: yolo(root, labels="label"), "have no label file"),
        (lambda root: yolo(root, data="path: /etc\ntrain: .\nnames: [cat]\n"), "'path' is '/etc'"),
    ],
)
def test_one_line_and_the_exit_code_of_a_mistake(
    aspects: Aspects, tmp_path: Path, make: Callable[[Path], None], wanted: str
) -> None:
    make(tmp_path / "data")
    questions = PROJECT / "questions" / "scenes.yaml"
    asked = ("--task", "detection", "-d", tmp_path / "data", "--box-questions", questions, "--teacher", "tiny")
    outcome = aspects("extract", *asked, "--dry-run")
    assert outcome.code == 2
    assert wanted in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
