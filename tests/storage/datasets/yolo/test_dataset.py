from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from storage.datasets.base import DatasetInvalid
from storage.datasets.open import open_detection_dataset
from storage.datasets.yolo.dataset import yolo_dataset
from tests.conftest import link_coco128
from tests.storage.datasets.tiny_images import draw, write

ONLY_TRAIN = "train: images/train\nnames: {0: cat, 1: dog}\n"
DATA = "path: .\ntrain: images/train\nval: images/val\nnames: {0: cat, 1: dog}\n"


def write_yolo(root: Path, *, boxes: str = "1 0.5 0.5 0.5 0.25\n", data: str = DATA) -> Path:
    """Images of 8 x 8: one to train on with `boxes`, one to validate on with a cat, and one without a label file."""
    draw(root / "images" / "train" / "1.png")
    draw(root / "images" / "val" / "2.png")
    draw(root / "images" / "val" / "3.png")
    write(root / "labels" / "train" / "1.txt", boxes)
    write(root / "labels" / "val" / "2.txt", "0 0.5 0.5 0.5 0.5\n")
    write(root / "data.yaml", data)
    return root


def test_shares_become_pixels(tmp_path: Path) -> None:
    dataset = yolo_dataset(write_yolo(tmp_path, boxes="1 0.5 0.5 0.5 0.25\n\n0 1 1 0.5 0.5\n"))
    assert dataset.class_names == ("cat", "dog")
    assert [(record.image_id, record.split) for record in dataset.records] == [
        ("images/train/1.png", "train"), ("images/val/2.png", "val"), ("images/val/3.png", "val"),
    ]  # fmt: skip
    dog, cat = dataset.boxes["images/train/1.png"]
    assert (dog.number, dog.label, dog.corners) == (0, 1, (2, 3, 6, 5))
    assert (cat.number, cat.corners) == (2, (6, 6, 8, 8))  # cut off at the border
    assert dataset.boxes["images/val/3.png"] == ()


def test_an_outline_counts_as_its_box(tmp_path: Path) -> None:
    dataset = yolo_dataset(write_yolo(tmp_path, boxes="0 0.25 0.5 0.5 0.25 0.75 1.0\n", data=ONLY_TRAIN))
    assert dataset.boxes["images/train/1.png"][0].corners == (2, 2, 6, 8)


@pytest.mark.parametrize(
    "boxes",
    [
        "0 0.5 0.5 0.4 0.6 0.4 0.3 0.6 0.7 0.5 0.5 0 0\n1 0.4 0.4 0.2 0.2 0.4 0.3 0.35 0.45 0.5 0.5 0.4 0.4\n",
        "0 0.5 0.5 0.4 0.6 0.4 0.3\n",
    ],
)
def test_keypoints_without_their_shape_are_no_outlines(tmp_path: Path, boxes: str) -> None:
    write_yolo(tmp_path, boxes=boxes, data=ONLY_TRAIN)
    with pytest.raises(DatasetInvalid, match=r"data\.yaml: all labels have \d+ values, .*'kpt_shape: \[\d, 2\]'"):
        yolo_dataset(tmp_path)
    write(tmp_path / "data.yaml", ONLY_TRAIN + "task: segment\n")
    assert yolo_dataset(tmp_path).boxes["images/train/1.png"]
    write(tmp_path / "data.yaml", ONLY_TRAIN + f"kpt_shape: [{(len(boxes.splitlines()[0].split()) - 5) // 2}, 2]\n")
    assert yolo_dataset(tmp_path).boxes["images/train/1.png"][0].corners == pytest.approx((2.4, 1.6, 5.6, 6.4))


def test_names_that_look_like_numbers_stay_as_they_are_written(tmp_path: Path) -> None:
    names = ["007", "0x10", "1.10", "1_000", "1e3", "12:30", "08"]
    numbered = ", ".join(f"{number}: {name}" for number, name in reversed(list(enumerate(names))))
    for data in (f"[{', '.join(names)}]", f"{{{numbered}}}"):
        write_yolo(tmp_path, boxes="0 0.5 0.5 0.5 0.5\n", data=f"train: images/train\nnames: {data}\n")
        assert yolo_dataset(tmp_path).class_names == tuple(names)


def test_an_image_that_is_turned_is_turned_first(tmp_path: Path) -> None:
    write_yolo(tmp_path, boxes="0 0.5 0.5 1 1\n")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (16, 8)).save(tmp_path / "images" / "train" / "1.png", exif=exif)
    assert yolo_dataset(tmp_path).boxes["images/train/1.png"][0].corners == (0, 0, 8, 16)


def test_names_can_be_a_list_and_splits_a_file(tmp_path: Path) -> None:
    write_yolo(tmp_path, data="train: train.txt\nval: ../images/val\nnames: [cat, dog]\n")
    write(tmp_path / "train.txt", "./images/train/1.png\n")
    dataset = open_detection_dataset(f"yolo:{tmp_path}/data.yaml", name="mine")
    assert dataset.name == "mine"
    assert [record.image_id for record in dataset.records] == [
        "images/train/1.png",
        "images/val/2.png",
        "images/val/3.png",
    ]


@pytest.mark.parametrize(
    ("boxes", "wanted"),
    [
        ("2 0.5 0.5 0.5 0.5", "line 1: there is no class 2; 'names' has 0 to 1"),
        ("\n0 0.5 0.5 -0.5 0.5", "line 2: a box has the negative size -4 x 4"),
        ("0 1.5 0.5 0.5 0.5", "line 1: a box from 10, 2 to 14, 6 lies outside its image of 8 x 8"),
        ("0 0.5 0.5 0.5", "line 1: '0 0.5 0.5 0.5' is no box; expected class, x, y, width, height"),
        ("cat 0.5 0.5 0.5 0.5", "line 1: 'cat 0.5 0.5 0.5 0.5' are no numbers"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, boxes: str, wanted: str) -> None:
    write_yolo(tmp_path, boxes=boxes)
    file = tmp_path / "labels" / "train" / "1.txt"
    with pytest.raises(DatasetInvalid, match=f"^{re.escape(f'{file}, {wanted}')}"):
        yolo_dataset(tmp_path)


def test_labels_in_the_wrong_folder_are_missed(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    (tmp_path / "labels").rename(tmp_path / "label")
    wanted = (
        r"the 1 images of split 'train' have no label file: .*1\.png belong in .*labels/train/1\.txt; put them there"
    )
    with pytest.raises(DatasetInvalid, match=wanted):
        yolo_dataset(tmp_path)


@pytest.mark.parametrize(("labels", "wanted"), [(None, "no label file"), ("", "only empty label files")])
def test_a_split_without_boxes_is_refused(tmp_path: Path, labels: str | None, wanted: str) -> None:
    write_yolo(tmp_path)
    (tmp_path / "labels" / "val" / "2.txt").unlink()
    if labels is not None:
        write(tmp_path / "labels" / "val" / "2.txt", labels)
    with pytest.raises(DatasetInvalid, match=f"the 2 images of split 'val' have {wanted}"):
        yolo_dataset(tmp_path)


def test_missing_files_are_noted(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    write(tmp_path / "labels" / "val" / "9.txt", "0 0.5 0.5 0.5 0.5\n")
    write(tmp_path / "labels" / "val" / "classes.txt", "cat\n")
    write(tmp_path / "images" / "val" / "4.png", "no image")
    write(tmp_path / "labels" / "val" / "4.txt", "0 0.5 0.5 0.5 0.5\n")
    val, train = yolo_dataset(tmp_path).notes
    assert val.startswith("val: 1 image has no label file and counts as background, e.g. images/val/3.png; ")
    assert "1 box of an image that cannot be opened is left out" in val
    assert f"1 label file has no image, e.g. {tmp_path}/labels/val/9.txt" in val
    assert train == "1 class without a box in train: cat"


def test_two_images_do_not_share_a_label_file(tmp_path: Path) -> None:
    draw(write_yolo(tmp_path) / "images" / "train" / "1.jpg")
    with pytest.raises(DatasetInvalid, match=r"1\.jpg and .*1\.png share the boxes in .*1\.txt"):
        yolo_dataset(tmp_path)


def test_keypoints_are_no_outline(tmp_path: Path) -> None:
    line = "1 0.5 0.5 0.5 0.25 0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8\n"
    write_yolo(tmp_path, boxes=line, data=ONLY_TRAIN + "kpt_shape: [4, 2]\n")
    assert yolo_dataset(tmp_path).boxes["images/train/1.png"][0].corners == (2, 3, 6, 5)


@pytest.mark.parametrize("boxes", ["0 0.9 0.5 1.1 0.5", "0 1.02 0.5 0.5 0.5", "0 0.1 -0.3 0.5 0.9 0.2 0.2"])
def test_coordinates_are_shares(tmp_path: Path, boxes: str) -> None:
    with pytest.raises(DatasetInvalid, match=r"1\.txt, line 1: coordinates are shares of the image, from 0 to 1"):
        yolo_dataset(write_yolo(tmp_path, boxes=boxes, data=ONLY_TRAIN))


@pytest.mark.parametrize(
    "data",
    [
        "path: ../outside\ntrain: images/train",
        "path: ../datasets/mine\ntrain: images/train",
        "path: /content/mine\ntrain: images/train",
        "path: [1]\ntrain: images/train",
        "train: ../../outside/images",
        "train: ../outside/images",
        "train: /etc",
        "train: images/../../outside/images",
        "train: list.txt",
        "train: 3",
        "train: {a: b}",
        "train: [[images/train]]",
    ],
)
def test_nothing_outside_is_read(tmp_path: Path, data: str) -> None:
    root = write_yolo(tmp_path / "mine", data=f"{data}\nnames: [cat, dog]\n")
    write_yolo(tmp_path / "outside")
    write(root / "list.txt", "images/train/1.png\n../outside/images/train/1.png\n")
    with pytest.raises(DatasetInvalid, match=r"data\.yaml: |list\.txt, line 2 is"):
        yolo_dataset(root)


@pytest.mark.parametrize("path", [".", "../mine", "", "null", "datasets/elsewhere"])
def test_a_path_to_the_folder_itself_or_within(tmp_path: Path, path: str) -> None:
    root = write_yolo(tmp_path / "mine", data=f"path: {path}\ntrain: images/train\nnames: [cat, dog]\n")
    assert [record.image_id for record in yolo_dataset(root).records] == ["images/train/1.png"]


def test_listed_images_that_are_missing_are_noted(tmp_path: Path) -> None:
    write_yolo(tmp_path, data="train: list.txt\nnames: [cat, dog]\n")
    write(tmp_path / "list.txt", f"./images/train/1.png\nimages/train/2.png\n{tmp_path}/images/val/2.png\n")
    dataset = yolo_dataset(tmp_path)
    assert [record.image_id for record in dataset.records] == ["images/train/1.png", "images/val/2.png"]
    assert dataset.notes[0] == "train: 1 image is not there and left out, e.g. images/train/2.png"
    write(tmp_path / "list.txt", "images/train/2.png\n")
    with pytest.raises(DatasetInvalid, match="none of the 1 images of split 'train' is there"):
        yolo_dataset(tmp_path)


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        ("train: images/train", "has no 'names'"),
        ("train: images/no\nnames: [a]", "names images/no, but there is no"),
        ("train: images/train\nnames: {1: a}", "not numbered 0, 1, 2"),
        ("train: images/train\nnames: 3", "is no list of classes"),
        ("names: [a]", "names no images"),
        ("{", "cannot read"),
        ("train: images/train\nnames: [yes, no]", r"class 0 in 'names' is true, not a text; put it in quotes"),
        ("train: images/train\nnames: [cat, null]", "class 1 in 'names' is null"),
        ("train: images/train\nnames: [cat, [dog]]", "class 1 in 'names' is "),
        ("train: images/train\nnames: [cat, cat]", "two classes in 'names' are called 'cat'"),
        ("train: images/train\nnames: {true: cat, 0: dog}", "not numbered 0, 1, 2"),
        ("train: images/train\nnames: {a: cat}", "not numbered 0, 1, 2"),
        ("train: images/train\nnames: [cat]\nnc: 2", "'nc' says 2 classes, but 'names' has 1"),
        ("- 1", "has no 'names'"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, data: str, wanted: str) -> None:
    with pytest.raises(DatasetInvalid, match=wanted):
        yolo_dataset(write_yolo(tmp_path, data=data))


def test_real_images(shared_data: Path, tmp_path: Path) -> None:
    dataset = open_detection_dataset(str(link_coco128(shared_data, tmp_path / "coco128")))
    assert dataset.name == "coco128"
    assert len(dataset.class_names) == 80
    assert [record.split for record in dataset.records].count("train") == 128
    boxes = [box for found in dataset.boxes.values() for box in found]
    assert len(boxes) > 1500
    for record in dataset.records[:5]:
        with Image.open(dataset.places[record.image_id]) as image:
            for box in dataset.boxes[record.image_id]:
                left, top, right, bottom = box.corners
                assert 0 <= left < right <= image.width
                assert 0 <= top < bottom <= image.height
