from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from storage.datasets import BoxImages, BoxView, DetectionDataset, open_detection_dataset
from storage.datasets.scenes.classification import CLANS, FORM_KINDS, sample_form
from storage.datasets.scenes.detection import box_of, clan_of, sample_company, write_detection_scenes
from storage.datasets.scenes.scene import SceneObject
from storage.images.decode import decode_image


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scenes") / "detection"
    write_detection_scenes(root, train=40, test=8, seed=3)
    return root


@pytest.fixture(scope="module")
def dataset(scenes: Path) -> DetectionDataset:
    return open_detection_dataset(str(scenes))


def test_it_is_read_like_any_other(dataset: DetectionDataset) -> None:
    assert dataset.class_names == CLANS
    assert Counter(record.split for record in dataset.records) == {"train": 40, "test": 8}
    assert {len(boxes) for boxes in dataset.boxes.values()} <= {2, 3, 4}
    assert {box.label for boxes in dataset.boxes.values() for box in boxes} == {0, 1, 2, 3}


def test_clans_are_those_of_the_other_scenes() -> None:
    rng = np.random.default_rng(0)
    for clan in CLANS:
        for form in range(4):
            scene = sample_form(rng, clan, "pair", form)
            assert [clan_of(thing, scene.kind) for thing in scene.objects] == [clan, clan]


def test_a_box_holds_its_object_and_nothing_else() -> None:
    # A circle of radius 0.9 x 10 around (20, 30).
    circle = SceneObject(
        shape="circle", colour="red", texture="solid", size="medium", radius=10.0, x=20.0, y=30.0, angle=0.0
    )
    assert box_of(circle, outlined=False) == (11, 21, 29, 39)
    assert box_of(circle, outlined=True) == (10, 20, 30, 40)


def test_the_objects_are_where_the_boxes_say(dataset: DetectionDataset) -> None:
    """A box differs from the ground around it more than a place without objects does."""
    for record in dataset.records[:12]:
        pixels = np.asarray(decode_image(dataset.read(record.image_id)), np.float32)
        for box in dataset.boxes[record.image_id]:
            left, top, right, bottom = map(int, box.corners)
            assert pixels[top:bottom, left:right].std(axis=(0, 1)).max() > 12


def test_the_right_answers_have_the_ids_of_images_and_boxes(scenes: Path, dataset: DetectionDataset) -> None:
    answers = pl.read_parquet(scenes / "ground_truth.parquet")
    images = {record.image_id for record in dataset.records}
    boxes = {record.image_id: record for record in BoxImages(dataset, BoxView()).records}
    assert set(answers["image_id"]) == images | boxes.keys()
    for row in answers.iter_rows(named=True):
        if row["image_id"] in boxes:
            colours = [row["has_red"], row["has_yellow"], row["has_blue"], row["has_purple"]]
            kinds = [row["on_grass"], row["at_night"], row["is_plain"], row["is_gradient"]]
            assert row["is_single"]
            assert boxes[row["image_id"]].label == (colours.index(True) + kinds.index(True)) % 4


def test_the_same_seed_gives_the_same_pixels(scenes: Path, tmp_path: Path) -> None:
    write_detection_scenes(tmp_path / "again", train=2, test=1, seed=3)
    assert (tmp_path / "again/train/0001.png").read_bytes() == (scenes / "train/0001.png").read_bytes()


def test_every_ground_has_several_classes() -> None:
    rng = np.random.default_rng(1)
    for kind in FORM_KINDS:
        clans = {clan_of(thing, kind) for _ in range(30) for thing in sample_company(rng, kind).objects}
        assert len(clans) >= 3
