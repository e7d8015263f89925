"""The demo dataset: an image folder with its right answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from storage.datasets.folder import image_folder
from storage.datasets.scenes.classification import (
    CLANS,
    DEMO_CLASSES,
    FORM_COLOURS,
    FORM_KINDS,
    sample_form,
    write_scenes,
)
from storage.images.decode import decode_image
from storage.questions import load_questions
from tests.conftest import PROJECT


def test_no_single_aspect_tells_a_clan() -> None:
    rng = np.random.default_rng(0)
    for clan in CLANS:
        scenes = [sample_form(rng, clan, "pair", form) for form in range(4)]
        assert [scene.objects[0].colour for scene in scenes] == list(FORM_COLOURS)
        assert sorted(scene.kind for scene in scenes) == sorted(FORM_KINDS)
        assert {len(scene.objects) for scene in scenes} == {2}
    forms = {(FORM_COLOURS[form], sample_form(rng, clan, "single", form).kind) for clan in CLANS for form in range(4)}
    assert len(forms) == 16, "a colour on a ground belongs to one clan"


def test_the_demo_dataset_is_an_image_folder_with_its_right_answers(tmp_path: Path) -> None:
    questions = load_questions(PROJECT / "questions" / "scenes.yaml")
    write_scenes(tmp_path / "scenes", train_per_class=4, test_per_class=1, seed=3)
    dataset = image_folder(tmp_path / "scenes")
    truth = pl.read_parquet(tmp_path / "scenes" / "ground_truth.parquet")
    assert truth.columns == ["image_id", *questions.keys]
    assert sorted(truth["image_id"]) == sorted(record.image_id for record in dataset.records)
    assert len(dataset.class_names) == len(DEMO_CLASSES) == 12
    assert [record.split for record in dataset.records] == ["train"] * 48 + ["test"] * 12
    train = truth.filter(pl.col("image_id").str.starts_with("train/"))
    assert [train[key].sum() for key in ("has_red", "has_yellow", "has_blue", "has_purple", "on_grass")] == [12] * 5
    single = train.filter(pl.col("is_single"))["image_id"]
    assert len(single) == 16
    assert all("_single/" in image_id for image_id in single)
    write_scenes(tmp_path / "again", train_per_class=1, test_per_class=1, seed=3)
    again = image_folder(tmp_path / "again")
    for record in again.records:
        pixels = decode_image(again.read(record.image_id)).tobytes()
        assert pixels == decode_image(dataset.read(record.image_id)).tobytes()


def test_a_split_without_scenes_is_not_made(tmp_path: Path) -> None:
    write_scenes(tmp_path / "scenes", train_per_class=1, test_per_class=0, seed=0)
    assert {record.split for record in image_folder(tmp_path / "scenes").records} == {"train"}
