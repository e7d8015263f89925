"""What a training says about the answers before it learns them, and which images have some."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flows.parameters import (
    AuditParameters,
    DatasetParameters,
    DetectionParameters,
    ExtractionParameters,
    StudentParameters,
    TrainingParameters,
)
from flows.work.training import train_student
from storage.datasets import image_folder
from storage.datasets.scenes.classification import write_scenes
from storage.datasets.scenes.folder import GROUND_TRUTH
from storage.questions import load_questions
from teacher.extraction.precomputed import import_answers, read_attributes
from tests.conftest import PROJECT
from tests.flows.hosts import Notes, plain_host

SMALL = {"backbone": "test_resnet", "image_size": 32, "cache_size": 32, "epochs": 1, "warmup": 0, "threads": 1}
BITS = "bits that tell the classes apart"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "scenes"
    write_scenes(folder, train_per_class=6, test_per_class=1, seed=7)
    return folder


def test_images_without_a_label_are_asked_about_too(tmp_path: Path) -> None:
    write_scenes(tmp_path / "scenes", train_per_class=1, test_per_class=1, seed=7)
    (tmp_path / "scenes" / "unlabelled").mkdir()
    shutil.copy(next((tmp_path / "scenes" / "train").glob("*/*.png")), tmp_path / "scenes" / "unlabelled" / "other.png")
    images = image_folder(tmp_path / "scenes")
    asked: dict[str, Any] = {"dataset": DatasetParameters(source=str(tmp_path / "scenes")), "questions": "scenes"}
    assert ExtractionParameters(**asked).splits_of(images) == ["train", "unlabelled"]
    assert ExtractionParameters(**asked, splits=["test"]).splits_of(images) == ["test"]
    # Audits and detectors need labels.
    assert AuditParameters(**asked).splits_of(images) == DetectionParameters(**asked).splits_of(images) == ["train"]


def test_those_without_answers_are_named(scenes: Path, tmp_path: Path) -> None:
    partly = Path(shutil.copytree(scenes, tmp_path / "partly"))
    (partly / "unlabelled").mkdir()
    shutil.copy(next((partly / "test").glob("*/*.png")), partly / "unlabelled" / "other.png")
    table = pl.read_parquet(scenes / GROUND_TRUTH)
    (line,) = said(tmp_path / "store", partly, table, "unlabelled")
    assert line.startswith("1 of 1 images in split 'unlabelled' have no answers and are not trained on")
    assert said(tmp_path / "other", scenes, table, "unlabelled") == []


def said(folder: Path, scenes: Path, table: pl.DataFrame, about: str = BITS, **settings: object) -> list[str]:
    """The lines about something in a training on these answers, of one student and its baselines."""
    folder.mkdir(exist_ok=True)
    table.write_parquet(folder / "answers.parquet")
    right = read_attributes(folder / "answers.parquet", load_questions(PROJECT / "questions" / "scenes.yaml"))
    import_answers(right, image_folder(scenes), ("train",), str(folder / "store"))
    notes = Notes()
    student = StudentParameters(runs=str(folder / "runs"), seeds=[0], settings={**SMALL, "method": "makd", **settings})
    dataset = DatasetParameters(source=str(scenes))
    train_student(plain_host(notes), TrainingParameters(dataset=dataset, store=str(folder / "store"), student=student))
    return [line for line in notes.lines if about in line]


def test_right_answers_say_much_about_the_class(scenes: Path, tmp_path: Path) -> None:
    (line,) = said(tmp_path, scenes, pl.read_parquet(scenes / GROUND_TRUTH))
    assert f"of the 3.58 {BITS}" in line
    assert float(line.split("answers say ")[1].split()[0]) > 0.5
    assert "next to nothing" not in line


def test_answers_about_other_images_say_next_to_nothing(scenes: Path, tmp_path: Path) -> None:
    table = pl.read_parquet(scenes / GROUND_TRUTH)
    others = table["image_id"].sample(fraction=1, shuffle=True, seed=1)
    (line,) = said(tmp_path, scenes, table.with_columns(others))
    assert "next to nothing: learning them can cost accuracy" in line


def test_nothing_is_said_where_a_class_has_too_few_labels_or_no_answer_is_learned(scenes: Path, tmp_path: Path) -> None:
    table = pl.read_parquet(scenes / GROUND_TRUTH)
    assert said(tmp_path / "few", scenes, table, labels_per_class=2) == []
    assert said(tmp_path / "base", scenes, table, method="base") == []
