from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.datasets.base import DatasetInvalid
from storage.datasets.coco.dataset import coco_dataset
from storage.datasets.detection import BoxImages, BoxView
from storage.datasets.open import open_detection_dataset
from storage.images.decode import ImageUnreadable, decode_image
from tests.storage.datasets.test_image_size import oriented
from tests.storage.datasets.tiny_images import draw

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


def test_boxes_are_read_as_coco_means_them(tmp_path: Path) -> None:
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


def test_splits_are_named_by_their_files(tmp_path: Path) -> None:
    for split in ("val2017", "train2017"):
        write_coco(tmp_path, split=split)
    assert [record.split for record in coco_dataset(tmp_path).records] == ["train", "train", "val", "val"]


def test_the_layout_of_exports_is_known(tmp_path: Path) -> None:
    document = write_coco(tmp_path / "elsewhere").read_text()
    for number in (1, 2):
        draw(tmp_path / "images" / "valid" / f"{number}.jpg")
    (tmp_path / "images" / "valid" / "_annotations.coco.json").write_text(document)
    dataset = open_detection_dataset(str(tmp_path / "images"))
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
def test_a_wrong_annotation_is_named(tmp_path: Path, changes: dict[str, Any], wanted: str) -> None:
    file = write_coco(tmp_path, annotations=[annotation(5, **changes)])
    with pytest.raises(DatasetInvalid, match=f"{file}, {wanted}.*; correct or remove it"):
        coco_dataset(tmp_path)


def test_an_invalid_coco_file_is_named(tmp_path: Path) -> None:
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


def test_images_that_are_not_there_are_named(tmp_path: Path) -> None:
    write_coco(tmp_path)
    (tmp_path / "train2017").rename(tmp_path / "somewhere")
    with pytest.raises(DatasetInvalid, match=r"the images of .* are in none of .*train2017.*: 2\.jpg is not"):
        coco_dataset(tmp_path)


def write_turned(root: Path, orientation: int, **image: Any) -> Path:
    """A stored image of 12 x 8 with a white block, and the box around it in the pixels that `image` speaks of."""
    oriented(root / "train" / "1.png", orientation)
    file = write_coco(root, split="train", annotations=[annotation(5, bbox=[2, 1, 3, 2])])
    document = json.loads(file.read_text())
    document["images"] = [{"id": 1, "file_name": "1.png", **image}]
    file.write_text(json.dumps(document))
    return file


@pytest.mark.parametrize("size", [{"width": 12, "height": 8}, {}])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_in_stored_pixels_are_turned_with_the_image(
    tmp_path: Path, orientation: int, size: dict[str, int]
) -> None:
    write_turned(tmp_path, orientation, **size)
    dataset = coco_dataset(tmp_path)
    view = BoxView(margin=0, smallest=1)
    crop = np.asarray(decode_image(BoxImages(dataset, view).read("train/1.png#5")))
    assert sorted(crop.shape) == [2, 3, 3]
    assert (crop == 255).all()
    assert dataset.sizes["train/1.png"] == decode_image(dataset.read("train/1.png")).size


def test_boxes_in_upright_pixels_are_left_alone(tmp_path: Path) -> None:
    write_turned(tmp_path, 6, width=8, height=12)
    dataset = coco_dataset(tmp_path)
    assert dataset.boxes["train/1.png"][0].corners == (2, 1, 5, 3)
    assert dataset.sizes["train/1.png"] == (8, 12)


def test_a_size_that_is_not_the_images_is_refused(tmp_path: Path) -> None:
    file = write_turned(tmp_path, 1, width=8, height=12)
    with pytest.raises(DatasetInvalid, match=rf"^{file}: image 1\.png: the annotations are for 8 x 12 .* has 12 x 8"):
        coco_dataset(tmp_path)


def test_an_image_that_has_changed_since_shows_no_wrong_crop(tmp_path: Path) -> None:
    write_turned(tmp_path, 1)
    images = BoxImages(coco_dataset(tmp_path), BoxView(smallest=1))
    oriented(tmp_path / "train" / "1.png", 6)
    with pytest.raises(ImageUnreadable, match="image of 8 x 12 pixels has boxes for 12 x 8 pixels"):
        images.read("train/1.png#5")


def test_images_that_are_missing_are_left_out_and_noted(tmp_path: Path) -> None:
    write_coco(tmp_path)
    (tmp_path / "train2017" / "2.jpg").unlink()
    dataset = coco_dataset(tmp_path)
    assert [record.image_id for record in dataset.records] == ["train2017/1.jpg"]
    assert dataset.notes[0].startswith(
        "train: 1 box without an area is left out, e.g. annotation 7; 1 image is not there and left out, e.g. 2.jpg; "
    )


def test_images_that_no_file_lists_are_noted(tmp_path: Path) -> None:
    write_coco(tmp_path, annotations=[annotation(5), annotation(6, category_id=3)])
    assert coco_dataset(tmp_path).notes == ()
    draw(tmp_path / "train2017" / "3.jpg")
    assert coco_dataset(tmp_path).notes == ("train: 1 image is in no annotation file and left out, e.g. 3.jpg",)


def test_a_class_whose_images_are_missing_is_refused(tmp_path: Path) -> None:
    write_coco(tmp_path, annotations=[annotation(5), annotation(6, image_id=2, category_id=3)])
    (tmp_path / "train2017" / "2.jpg").unlink()
    with pytest.raises(DatasetInvalid, match=r"class 'car' loses all of its boxes \(1 x image is not there"):
        coco_dataset(tmp_path)


def test_boxes_of_one_image_have_ids_of_their_own(tmp_path: Path) -> None:
    write_coco(tmp_path, annotations=[annotation(7), annotation(7, bbox=[4, 4, 2, 2])])
    with pytest.raises(DatasetInvalid, match=r"several boxes of image train2017/1\.jpg have the id 7"):
        coco_dataset(tmp_path)
    write_coco(tmp_path, annotations=[annotation(7), annotation(7, image_id=2)])
    assert [record.image_id for record in BoxImages(coco_dataset(tmp_path), BoxView()).records] == [
        "train2017/1.jpg#7", "train2017/2.jpg#7",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["../outside.jpg", "/etc/passwd", "a/../../outside.jpg", "..", "", "a\0b", "\ud800"])
def test_a_file_name_stays_in_the_dataset(tmp_path: Path, name: str) -> None:
    file = write_coco(tmp_path / "mine")
    draw(tmp_path / "outside.jpg")
    document = json.loads(file.read_text())
    document["images"][0]["file_name"] = name
    file.write_text(json.dumps(document))
    with pytest.raises(DatasetInvalid, match=r"not a path below|the name of a file"):
        coco_dataset(tmp_path / "mine")


def test_one_file_is_not_described_twice(tmp_path: Path) -> None:
    file = write_coco(tmp_path)
    document = json.loads(file.read_text())
    document["images"][0]["file_name"] = "./1.jpg"
    file.write_text(json.dumps(document))
    with pytest.raises(DatasetInvalid, match=r"image train2017/1\.jpg was described before"):
        coco_dataset(tmp_path)


def test_splits_with_other_categories_are_refused(tmp_path: Path) -> None:
    write_coco(tmp_path)
    file = write_coco(tmp_path, split="val2017")
    document = json.loads(file.read_text())
    file.write_text(json.dumps({**document, "annotations": [], "categories": CATEGORIES[:1]}))
    with pytest.raises(DatasetInvalid, match="has other categories"):
        coco_dataset(tmp_path)
