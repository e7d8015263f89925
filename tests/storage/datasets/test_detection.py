"""Boxes are checked when a dataset is opened, and shown to the teacher as the view says."""

from __future__ import annotations

import io
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from storage.datasets.base import Corners, DatasetInvalid
from storage.datasets.detection import Box, BoxImages, BoxKind, BoxView, DetectionDataset, checked_box, image_record
from storage.images.decode import ImageUnreadable, decode_image


def dataset(root: Path) -> DetectionDataset:
    """One image of 40 x 30 whose pixels say where they are, with three boxes, and one that is background only."""
    pixels = np.zeros((30, 40, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(40), np.arange(30)[:, None]
    for name in ("a#1.png", "b.png"):
        Image.fromarray(pixels).save(root / name)
    boxes = (
        Box(number=7, label=1, corners=(10, 10, 20, 18)),
        Box(number=8, label=0, corners=(0, 0, 3, 3)),
        Box(number=9, label=0, corners=(5, 5, 30, 30), ignored=True),
    )
    return DetectionDataset(
        name="images",
        class_names=("cat", "dog"),
        records=[image_record("a#1.png", "train"), image_record("b.png", "test")],
        places={name: root / name for name in ("a#1.png", "b.png")},
        boxes={"a#1.png": boxes, "b.png": ()},
        sizes=dict.fromkeys(("a#1.png", "b.png"), (40, 30)),
    )


def check(corners: Corners) -> Box | None:
    return checked_box("boxes.txt, line 3", number=0, label=0, corners=corners, size=(40, 30))


def test_a_box_ends_where_its_image_does() -> None:
    box = check((-5, 10, 50, 31))
    assert box is not None
    assert box.corners == (0, 10, 40, 30)


@pytest.mark.parametrize("corners", [(5, 5, 5, 20), (5, 5, 20, 5)])
def test_a_box_without_an_area_is_dropped(corners: Corners) -> None:
    assert check(corners) is None


@pytest.mark.parametrize(
    ("corners", "wanted"),
    [
        ((20, 5, 10, 8), "negative size -10 x 3"),
        ((45, 5, 50, 8), "lies outside its image of 40 x 30 pixels"),
        ((-9, 5, -1, 8), "lies outside its image"),
        ((float("nan"), 5, 10, 8), "no numbers"),
    ],
)
def test_a_box_that_cannot_be_meant_is_named(corners: Corners, wanted: str) -> None:
    with pytest.raises(DatasetInvalid, match=rf"^boxes.txt, line 3: .*{wanted}.*; correct or remove it"):
        check(corners)


def test_every_box_that_counts_is_an_image_of_its_class(tmp_path: Path) -> None:
    images = BoxImages(dataset(tmp_path), BoxView())
    assert images.name == "images.crop"
    assert [record.image_id for record in images.records] == ["a#1.png#7", "a#1.png#8"]
    assert images.records[0].label_name == "dog"
    assert images.records[0].box == (10, 10, 20, 18)


def test_a_crop_has_its_margin_and_ends_at_the_border(tmp_path: Path) -> None:
    images = BoxImages(dataset(tmp_path), BoxView(margin=0.5, smallest=2))
    crop = np.asarray(decode_image(images.read("a#1.png#7")))
    assert crop.shape == (16, 20, 3)
    assert tuple(crop[0, 0, :2]) == (5, 6)  # pixel of x 5, y 6
    assert np.asarray(decode_image(images.read("a#1.png#8"))).shape == (5, 5, 3)


def test_a_drawn_box_leaves_everything_else(tmp_path: Path) -> None:
    images = BoxImages(dataset(tmp_path), BoxView(kind="drawn"))
    whole = np.asarray(Image.open(tmp_path / "b.png"))
    drawn = np.asarray(decode_image(images.read("a#1.png#7")))
    changed = (whole != drawn).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (9, 18, 9, 20)  # around the box, not on it
    assert not changed[10:18, 10:20].any()
    assert (drawn[changed] == (255, 0, 0)).all()
    assert images.name == "images.drawn"


def test_a_box_too_small_to_see_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(ImageUnreadable, match="box of 3 x 3 pixels is too small to see"):
        BoxImages(dataset(tmp_path), BoxView()).read("a#1.png#8")


@pytest.mark.parametrize("corners", [(50, 5, 60, 15), (5, 30, 15, 40), (-20, 5, 0, 15), (5, -20, 15, 0)])
@pytest.mark.parametrize("view", [BoxView(), BoxView(kind="drawn")])
def test_a_box_outside_the_image_is_not_shown(corners: Corners, view: BoxView) -> None:
    with pytest.raises(ImageUnreadable, match="outside the image of 40 x 30 pixels"):
        view.show(Image.new("RGB", (40, 30)), corners)


def test_the_same_pixels_are_the_same_bytes(tmp_path: Path) -> None:
    one, other = (BoxImages(dataset(tmp_path), BoxView()) for _ in range(2))
    assert one.read("a#1.png#7") == other.read("a#1.png#7")
    assert Image.open(io.BytesIO(one.read("a#1.png#7"))).format == "PPM"


def test_a_view_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(DatasetInvalid, match="use crop or drawn"):
        BoxView(kind="cut")  # type: ignore[arg-type]
    for margin, smallest in ((-1.0, 8.0), (float("inf"), 8.0), (float("nan"), 8.0), (0.0, float("nan"))):
        with pytest.raises(DatasetInvalid, match="at least 0"):
            BoxView(margin=margin, smallest=smallest)


def test_a_dataset_without_boxes_has_nothing_to_ask_about(tmp_path: Path) -> None:
    empty = DetectionDataset(name="empty", class_names=("a",), records=[], places={}, boxes={}, sizes={})
    with pytest.raises(DatasetInvalid, match="no boxes to ask about"):
        BoxImages(empty, BoxView())


@pytest.mark.parametrize("kind", ["crop", "drawn"])
def test_a_subset_of_boxes_reads_the_same_in_another_process(tmp_path: Path, kind: BoxKind) -> None:
    boxes = BoxImages(dataset(tmp_path), BoxView(kind=kind, smallest=1))
    part = pickle.loads(pickle.dumps(boxes.subset(boxes.records[1:])))
    assert (part.name, list(part.records)) == (boxes.name, boxes.records[1:])
    image_id = boxes.records[1].image_id
    assert part.read(image_id) == boxes.read(image_id)


def test_the_stamp_of_a_box_is_its_images_with_all_that_its_view_depends_on(tmp_path: Path) -> None:
    boxed = dataset(tmp_path)
    first, second = (f"a#1.png#{number}" for number in (7, 8))
    stamp = BoxImages(boxed, BoxView()).stamp(first)
    assert stamp[:2] == boxed.stamp("a#1.png")[:2]
    assert stamp == BoxImages(boxed, BoxView()).stamp(second)
    views = (BoxView(margin=0.5), BoxView(smallest=2), BoxView(kind="drawn"))
    others = [BoxImages(boxed, view).stamp(first) for view in views]
    resized = replace(boxed, sizes=dict.fromkeys(boxed.sizes, (41, 30)))
    assert len({stamp, *others, BoxImages(resized, BoxView()).stamp(first)}) == 5
