"""What a training says about the answers before it learns them."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from flows.parameters import DatasetParameters, StudentParameters, TrainingParameters
from flows.work.training import train_student
from storage.datasets import image_folder
from storage.datasets.scenes.classification import write_scenes
from storage.datasets.scenes.folder import GROUND_TRUTH
from storage.questions import load_questions
from teacher.extraction.precomputed import import_answers, read_attributes
from tests.conftest import PROJECT
from tests.flows.hosts import Notes, plain_host

SMALL = {"backbone": "test_resnet", "image_size": 32, "cache_size": 32, "epochs": 1, "warmup": 0, "threads": 1}
SAID = "bits that tell the classes apart"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "scenes"
    write_scenes(folder, train_per_class=6, test_per_class=1, seed=7)
    return folder


def said(folder: Path, scenes: Path, table: pl.DataFrame, **settings: object) -> list[str]:
    """The lines about the information of these answers, in a training of one student and its baselines."""
    folder.mkdir(exist_ok=True)
    table.write_parquet(folder / "answers.parquet")
    right = read_attributes(folder / "answers.parquet", load_questions(PROJECT / "questions" / "scenes.yaml"))
    import_answers(right, image_folder(scenes), ("train",), str(folder / "store"))
    notes = Notes()
    student = StudentParameters(runs=str(folder / "runs"), seeds=[0], settings={**SMALL, "method": "makd", **settings})
    dataset = DatasetParameters(source=str(scenes))
    train_student(plain_host(notes), TrainingParameters(dataset=dataset, store=str(folder / "store"), student=student))
    return [line for line in notes.lines if SAID in line]


def test_right_answers_say_much_about_the_class(scenes: Path, tmp_path: Path) -> None:
    (line,) = said(tmp_path, scenes, pl.read_parquet(scenes / GROUND_TRUTH))
    assert f"of the 3.58 {SAID}" in line
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
