from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from storage.datasets.base import DatasetInvalid
from storage.datasets.coco import coco_dataset
from storage.datasets.open import open_detection_dataset
from tests.storage.datasets.pictures import draw

CATEGORIES = [{"id": 3, "name": "car"}, {"id": 1, "name": "person"}]


def write_coco(root: Path, *, split: str = "train2017", annotations: list[dict[str, Any]] | None = None) -> Path:
    """Two images of 8 x 8, the second without boxes."""
    for number in (1, 2):
        draw(root / split / f"{number}.jpg", number)
    images = [{"id": number, "file_name": f"{number}.jpg", "width": 8, "height": 8} for number in (2, 1)]
    if annotations is None:
        annotations = [
            annotation(5, bbox=[1, 2, 3, 4], category_id=3),
            annotation(6, bbox=[4, 4, 9, 9], iscrowd=1),
            annotation(7, bbox=[4, 4, 0, 2]),
        ]
    document = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    file = root / "annotations" / f"instances_{split}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document), encoding="utf-8")
    return file


def annotation(number: int, **changes: Any) -> dict[str, Any]:
    return {"id": number, "image_id": 1, "category_id": 1, "bbox": [0, 0, 4, 4], "iscrowd": 0, **changes}


def test_boxes_are_read_as_coco_means_them(tmp_path: Path):
    write_coco(tmp_path)
    dataset = coco_dataset(tmp_path, name="mine")
    assert dataset.class_names == ("person", "car")  # by id, without the gaps
    assert [record.image_id for record in dataset.records] == ["train2017/1.jpg", "train2017/2.jpg"]
    assert {record.split for record in dataset.records} == {"train"}
    car, crowd = dataset.boxes["train2017/1.jpg"]  # that without an area is left out
    assert (car.number, car.label, car.corners, car.ignored) == (5, 1, (1, 2, 4, 6), False)
    assert (crowd.corners, crowd.ignored) == ((4, 4, 8, 8), True)
    assert dataset.boxes["train2017/2.jpg"] == ()
    assert dataset.read("train2017/1.jpg")[:2] == b"\xff\xd8"


def test_splits_are_named_by_their_files(tmp_path: Path):
    for split in ("val2017", "train2017"):
        write_coco(tmp_path, split=split)
    assert [record.split for record in coco_dataset(tmp_path).records] == ["train", "train", "val", "val"]


def test_the_layout_of_exports_is_known(tmp_path: Path):
    document = write_coco(tmp_path / "elsewhere").read_text()
    for number in (1, 2):
        draw(tmp_path / "photos" / "valid" / f"{number}.jpg")
    (tmp_path / "photos" / "valid" / "_annotations.coco.json").write_text(document)
    dataset = open_detection_dataset(str(tmp_path / "photos"))
    assert dataset.records[0].image_id == "valid/1.jpg"
    assert dataset.records[0].split == "valid"


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"bbox": [4, 4, -2, 2]}, "annotation 5: a box has the negative size -2 x 2"),
        ({"bbox": [9, 4, 2, 2]}, "annotation 5: a box from 9, 4 to 11, 6 lies outside its image of 8 x 8"),
        ({"category_id": 2}, "annotation 5: there is no category 2"),
        ({"image_id": 4}, "annotation 5: there is no image 4"),
    ],
)
def test_a_wrong_annotation_is_named(tmp_path: Path, changes: dict[str, Any], wanted: str):
    file = write_coco(tmp_path, annotations=[annotation(5, **changes)])
    with pytest.raises(DatasetInvalid, match=f"{file}, {wanted}.*; correct or remove it"):
        coco_dataset(tmp_path)


def test_what_is_no_coco_file_is_named(tmp_path: Path):
    with pytest.raises(DatasetInvalid, match=r"no COCO annotations in .*; expected annotations/"):
        coco_dataset(tmp_path)
    file = write_coco(tmp_path)
    file.write_text("{")
    with pytest.raises(DatasetInvalid, match="cannot read COCO annotations"):
        coco_dataset(tmp_path)
    file.write_text(json.dumps({"images": []}))
    with pytest.raises(DatasetInvalid, match="has no list 'annotations'"):
        coco_dataset(tmp_path)
    file.write_text(json.dumps({"images": [{"id": 1}], "annotations": [], "categories": []}))
    with pytest.raises(DatasetInvalid, match="entry 0 of 'images' has no 'file_name'"):
        coco_dataset(tmp_path)


def test_images_that_are_not_there_are_named(tmp_path: Path):
    write_coco(tmp_path)
    (tmp_path / "train2017").rename(tmp_path / "somewhere")
    with pytest.raises(DatasetInvalid, match=r"the images of .* are in none of .*train2017.*: 2\.jpg is not"):
        coco_dataset(tmp_path)


def test_splits_with_other_categories_are_refused(tmp_path: Path):
    write_coco(tmp_path)
    file = write_coco(tmp_path, split="val2017")
    document = json.loads(file.read_text())
    file.write_text(json.dumps({**document, "annotations": [], "categories": CATEGORIES[:1]}))
    with pytest.raises(DatasetInvalid, match="has other categories"):
        coco_dataset(tmp_path)
