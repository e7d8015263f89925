"""COCO and YOLO as Label Studio and Roboflow export them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from storage.datasets import open_detection_dataset
from tests.storage.datasets.tiny_images import draw, write

BOX = {"id": 0, "image_id": 0, "category_id": 1, "segmentation": [], "bbox": [2.0, 4.0, 4.0, 2.0], "area": 8.0}


@pytest.mark.parametrize("separator", ["/", "\\"])
def test_label_studios_coco(tmp_path: Path, separator: str) -> None:
    draw(tmp_path / "images" / "0a1b2c3d-1.jpg")
    image = {"width": 8, "height": 8, "id": 0, "file_name": f"images{separator}0a1b2c3d-1.jpg"}
    document = {
        "images": [image],
        "categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}],
        "annotations": [{**BOX, "ignore": 0, "iscrowd": 0}],
        "info": {"year": 2026, "version": "1.0", "description": "", "contributor": "Label Studio", "url": ""},
    }
    write(tmp_path / "result.json", json.dumps(document))
    dataset = open_detection_dataset(str(tmp_path))
    assert [(record.image_id, record.split) for record in dataset.records] == [("images/0a1b2c3d-1.jpg", "train")]
    assert dataset.boxes["images/0a1b2c3d-1.jpg"][0].corners == (2, 4, 6, 6)


def test_label_studios_yolo(tmp_path: Path) -> None:
    for number in range(20):
        draw(tmp_path / "images" / f"{number}.jpg")
        write(tmp_path / "labels" / f"{number}.txt", "1 0.5 0.625 0.5 0.25\n")
    write(tmp_path / "classes.txt", "cat\ndog\n")
    write(tmp_path / "notes.json", json.dumps({"categories": [{"id": 0, "name": "cat"}], "info": {"year": 2026}}))
    dataset = open_detection_dataset(str(tmp_path))
    assert ({record.split for record in dataset.records}, dataset.class_names) == ({"train"}, ("cat", "dog"))
    assert dataset.boxes["images/1.jpg"][0].corners == (2, 4, 6, 6)
    held_out = open_detection_dataset(f"{tmp_path}?test=0.3")
    assert 1 < sum(record.split == "test" for record in held_out.records) < 12
    assert held_out.boxes == dataset.boxes


def test_roboflows_coco(tmp_path: Path) -> None:
    """The first category is the project, here with the name of its only class; there is no test split."""
    categories = [{"id": 0, "name": "dog", "supercategory": "none"}, {"id": 1, "name": "dog", "supercategory": "dog"}]
    for split in ("train", "valid"):
        name = "1_jpg.rf.0a1b2c.jpg"
        draw(tmp_path / split / name)
        images = [{"id": 0, "license": 1, "file_name": name, "height": 8, "width": 8, "date_captured": "2026-05-04"}]
        document = {"categories": categories, "images": images, "annotations": [{**BOX, "iscrowd": 0}]}
        write(tmp_path / split / "_annotations.coco.json", json.dumps(document))
    dataset = open_detection_dataset(str(tmp_path))
    assert [record.split for record in dataset.records] == ["train", "valid"]
    assert dataset.class_names == ("dog",)


def test_roboflows_yolo_names_a_test_split_that_is_not_there(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        draw(tmp_path / split / "images" / "1.jpg")
        write(tmp_path / split / "labels" / "1.txt", "0 0.5 0.625 0.5 0.25\n")
    data = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 1\nnames: ['dog']\n\n"
    write(tmp_path / "data.yaml", data + "roboflow:\n  workspace: me\n  project: pets\n  version: 1\n")
    dataset = open_detection_dataset(str(tmp_path))
    assert [record.split for record in dataset.records] == ["train", "val"]
    (note,) = dataset.notes
    assert note == "test: 1 folder or list is not there, so the split is left out, e.g. ../test/images"
