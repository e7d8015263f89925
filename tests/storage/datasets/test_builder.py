"""What is left out of a detection dataset is counted, and what an annotation file names stays in its folder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from storage.datasets.base import DatasetInvalid
from storage.datasets.builder import NO_AREA, NOT_THERE, DetectionBuilder, box_frame, inside
from storage.datasets.detection import Box
from storage.datasets.image_size import StoredSize

BOX = Box(number=7, label=0, corners=(1, 1, 3, 3))


def builder() -> DetectionBuilder:
    return DetectionBuilder(Path("data"), ("cat", "dog"))


def add(to: DetectionBuilder, image: str, *boxes: Box, split: str = "train") -> None:
    to.add(image, split, Path("data") / image, (8, 8), boxes, "a.json")


def test_skipped_images_are_counted_in_one_line() -> None:
    images = builder()
    images.remark("train", NOT_THERE, "2.jpg")
    images.remark("train", NOT_THERE, "3.jpg")
    images.remark("train", NO_AREA, "annotation 9", label=0)
    crowd = Box(number=8, label=1, corners=(0, 0, 2, 2), ignored=True)
    add(images, "1.jpg", BOX, Box(number=9, label=0, corners=BOX.corners), crowd)
    left_out, untrained = images.finish("mine").notes
    assert left_out == (
        "train: 2 images are not there and left out, e.g. 2.jpg; 1 box without an area is left out, e.g. annotation 9; "
        "1 box is there twice, e.g. 1, 1 to 3, 3 of 1.jpg; 1 box is ignored (crowd or difficult), e.g. 8 of 1.jpg"
    )
    assert untrained == "1 class without a box in train: dog"


def test_a_dataset_in_order_has_no_notes() -> None:
    images = builder()
    add(images, "1.jpg", BOX, Box(number=8, label=1, corners=BOX.corners))
    add(images, "2.jpg", split="val")
    assert images.finish("mine").notes == ()


def test_ids_are_given_once() -> None:
    images = builder()
    with pytest.raises(DatasetInvalid, match=r"^a\.json: several boxes of image 1\.jpg have the id 7"):
        add(images, "1.jpg", BOX, Box(number=7, label=1, corners=(0, 0, 2, 2)))
    add(images, "1.jpg", BOX)
    add(images, "2.jpg", BOX)  # the same number in another image is another box
    with pytest.raises(DatasetInvalid, match=r"image 1\.jpg was described before \(split train\)"):
        add(images, "1.jpg", BOX)
    with pytest.raises(DatasetInvalid, match=r"image 1\.jpg was described before \(split train\)"):
        add(images, "1.jpg", split="val")


def test_an_image_of_two_splits_is_noted() -> None:
    images = builder()
    add(images, "1.jpg", BOX)
    add(images, "1.jpg", BOX, split="val")
    assert images.finish("mine").notes[0] == "val: 1 image is in another split too, e.g. 1.jpg"


def test_a_class_that_loses_all_its_boxes_is_refused() -> None:
    images = builder()
    add(images, "1.jpg", BOX)
    images.lose(1, NOT_THERE)
    images.remark("train", NO_AREA, "annotation 9", label=1)
    with pytest.raises(
        DatasetInvalid, match=r"^data: class 'dog' loses all of its boxes \(1 x image is not there .*1 x"
    ):
        images.finish("mine")


def test_a_split_that_loses_all_its_boxes_is_refused() -> None:
    images = builder()
    add(images, "1.jpg", BOX)
    add(images, "2.jpg", split="val")
    images.remark("val", NO_AREA, "annotation 9", label=0)
    with pytest.raises(DatasetInvalid, match=r"split val has no box that can be used: .*annotation 9"):
        images.finish("mine")


@pytest.mark.parametrize(
    ("declared", "orientation", "wanted"),
    [
        ((12, 8), 1, ((12, 8), None)),
        ((12, 8), 6, ((12, 8), StoredSize(12, 8, 6))),  # in stored pixels: turned with the image
        ((8, 12), 6, ((8, 12), None)),  # in those of the upright image
        ((12, 8), 3, ((12, 8), StoredSize(12, 8, 3))),  # both fit: COCO's tools ignore EXIF
        (None, 8, ((12, 8), StoredSize(12, 8, 8))),
        (None, 1, ((12, 8), None)),
    ],
)
def test_the_pixels_that_boxes_are_in(
    declared: tuple[int, int] | None, orientation: int, wanted: tuple[tuple[int, int], StoredSize | None]
) -> None:
    assert box_frame("a.jpg", declared, StoredSize(12, 8, orientation)) == wanted


def test_an_image_that_cannot_be_opened_keeps_its_declared_size() -> None:
    assert box_frame("a.jpg", (5, 4), None) == ((5, 4), None)


@pytest.mark.parametrize(("declared", "orientation"), [((8, 12), 1), ((24, 16), 1), ((8, 12), 3), ((24, 16), 6)])
def test_a_size_that_fits_neither_way_is_refused(declared: tuple[int, int], orientation: int) -> None:
    width, height = declared
    with pytest.raises(
        DatasetInvalid, match=rf"^a\.jpg: the annotations are for {width} x {height} .* the file has 12 x 8"
    ):
        box_frame("a.jpg", declared, StoredSize(12, 8, orientation))


@pytest.mark.parametrize("named", ["1.jpg", "./1.jpg", "sub/1.jpg", "a..b.jpg", "sub//1.jpg"])
def test_a_path_below_the_folder(tmp_path: Path, named: str) -> None:
    assert inside(tmp_path, tmp_path / "train", named, "a.json") == tmp_path / "train" / named
    assert inside(tmp_path, tmp_path / "train", str(tmp_path / named), "a.json") == tmp_path / named


@pytest.mark.parametrize(
    "named", ["", ".", "..", "../1.jpg", "sub/../../../1.jpg", "sub/../1.jpg", "/etc/1.jpg", "a\0b"]
)
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, named: str) -> None:
    for root in (tmp_path, Path(".")):
        with pytest.raises(
            DatasetInvalid, match=rf"^a\.json is .*, which is not a path below {re.escape(str(root))}; "
        ):
            inside(root, root, named, "a.json")
