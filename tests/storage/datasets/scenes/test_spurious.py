"""Scenes with a background colour that predicts the class in training alone."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from storage.datasets import image_folder
from storage.datasets.scenes.spurious import write_spurious_scenes
from storage.datasets.scenes.truth import read_truth


def test_the_colour_goes_with_the_class_in_training_alone(tmp_path: Path) -> None:
    write_spurious_scenes(tmp_path / "scenes", train_per_class=10, test_per_class=6, share=0.9, seed=2)
    dataset = image_folder(tmp_path / "scenes")
    truth = read_truth(dataset)
    assert truth is not None
    named = truth.with_columns(pl.col("image_id").str.split("/").list.slice(0, 2).list.join("/"))
    counts = {key: (part["is_bluish"].sum(), part["is_greenish"].sum()) for (key,), part in named.group_by("image_id")}
    assert counts == {
        "train/few_objects": (9, 1),
        "train/many_objects": (1, 9),
        "test/few_objects": (3, 3),
        "test/many_objects": (3, 3),
    }
    many = truth.filter(pl.col("image_id").str.contains("many_objects"))
    assert many["more_than_two"].all()
    assert truth["more_than_two"].sum() == 16


def test_only_folders_of_scenes_have_right_answers(tmp_path: Path) -> None:
    write_spurious_scenes(tmp_path / "scenes", train_per_class=1, test_per_class=1, share=1.0, seed=0)
    scenes = image_folder(tmp_path / "scenes")
    extra = tmp_path / "scenes" / "test" / "few_objects" / "mine.png"
    extra.write_bytes((tmp_path / "scenes" / "test" / "few_objects" / "0000.png").read_bytes())
    assert read_truth(scenes) is not None
    assert read_truth(image_folder(tmp_path / "scenes")) is None, "nothing is known about an image that was added"
    (tmp_path / "scenes" / "ground_truth.parquet").unlink()
    assert read_truth(scenes) is None
