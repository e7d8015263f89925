from __future__ import annotations

from pathlib import Path

import pytest

from storage.datasets.base import DatasetInvalid
from storage.datasets.detection import DetectionDataset
from storage.datasets.open import open_detection_dataset
from tests.storage.datasets.test_image_size import oriented
from tests.storage.datasets.tiny_images import draw, write

OBJECT = """<object><name>{name}</name><difficult>{difficult}</difficult>
<bndbox><xmin>2</xmin><ymin>1</ymin><xmax>{right}</xmax><ymax>8</ymax></bndbox></object>"""
ANNOTATION = "<annotation><size><width>8</width><height>8</height></size>{objects}</annotation>"


def write_voc(root: Path, *, name: str = "dog", right: int = 4) -> None:
    base = root / "VOCdevkit" / "VOC2012"
    for split, image in (("train", "a"), ("val", "b")):
        write(base / "ImageSets" / "Main" / f"{split}.txt", f"{image}\n")
        draw(base / "JPEGImages" / f"{image}.jpg")
    objects = OBJECT.format(name=name, difficult=0, right=right) + OBJECT.format(name="cat", difficult=1, right=8)
    write(base / "Annotations" / "a.xml", ANNOTATION.format(objects=objects))
    write(base / "Annotations" / "b.xml", ANNOTATION.format(objects=""))


def test_pixels_count_from_1_and_difficult_ones_are_ignored(tmp_path: Path) -> None:
    write_voc(tmp_path)
    dataset = open_detection_dataset("torchvision:VOCDetection", root=tmp_path)
    assert dataset.name == "VOC2012"
    assert [record.split for record in dataset.records] == ["train", "val"]
    dog, cat = dataset.boxes[dataset.records[0].image_id]
    assert (dataset.class_names[dog.label], dog.corners, dog.ignored) == ("dog", (1, 0, 4, 8), False)
    assert (dataset.class_names[cat.label], cat.ignored) == ("cat", True)
    assert dataset.boxes[dataset.records[1].image_id] == ()
    assert dataset.read(dataset.records[0].image_id)


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetInvalid, match=r"cannot open VOC 2007 .* --download"):
        open_detection_dataset("torchvision:VOCDetection2007", root=tmp_path)
    write_voc(tmp_path, name="unicorn")
    with pytest.raises(DatasetInvalid, match=r"a\.xml, object 1: VOC has no class 'unicorn'"):
        open_detection_dataset("torchvision:VOCDetection", root=tmp_path)
    write_voc(tmp_path, right=0)
    with pytest.raises(DatasetInvalid, match=r"a\.xml, object 1: a box has the negative size -1 x 8"):
        open_detection_dataset("torchvision:VOCDetection", root=tmp_path)
    write_voc(tmp_path)
    with pytest.raises(DatasetInvalid, match="cannot name a folder"):
        open_detection_dataset("torchvision:VOCDetection", root=tmp_path, name="a/b")


def opened(root: Path) -> DetectionDataset:
    return open_detection_dataset("torchvision:VOCDetection", root=root)


def annotation(root: Path, image: str = "a") -> Path:
    return root / "VOCdevkit" / "VOC2012" / "Annotations" / f"{image}.xml"


def test_boxes_in_stored_pixels_are_turned_with_the_image(tmp_path: Path) -> None:
    write_voc(tmp_path)
    oriented(tmp_path / "VOCdevkit/VOC2012/JPEGImages/a.jpg", 6)
    text = annotation(tmp_path).read_text()
    write(annotation(tmp_path), text.replace("<width>8<", "<width>12<"))
    dataset = opened(tmp_path)
    image_id = dataset.records[0].image_id
    assert dataset.boxes[image_id][0].corners == (0, 1, 8, 4)  # 1, 0 to 4, 8, a quarter turn clockwise
    assert dataset.sizes[image_id] == (8, 12)
    write(annotation(tmp_path), text.replace("<height>8<", "<height>12<"))
    assert opened(tmp_path).boxes[image_id][0].corners == (1, 0, 4, 8)


@pytest.mark.parametrize("size", ["", "<size><width>0</width><height>0</height></size>"])
def test_a_size_that_is_not_given_is_read_from_the_image(tmp_path: Path, size: str) -> None:
    write_voc(tmp_path)
    known = "<size><width>8</width><height>8</height></size>"
    write(annotation(tmp_path), annotation(tmp_path).read_text().replace(known, size))
    assert opened(tmp_path).boxes["VOCdevkit/VOC2012/JPEGImages/a.jpg"][0].corners == (1, 0, 4, 8)


BOMB = '<!DOCTYPE a [<!ENTITY b "bbbbbbbb"><!ENTITY c "&b;&b;&b;&b;">]>'


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("<annotation>", BOMB + "<annotation>", "declares a document type"),
        ("<annotation>", '<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation>', "declares a document type"),
        ("<annotation>", "", "no valid XML"),
        ("<width>8<", "<width>9<", "the annotations are for 9 x 8 pixels, but the file has 8 x 8"),
        ("<width>8<", "<width>x<", "invalid literal"),
        ("<width>8</width>", "", "no size/width"),
        ("<xmax>4<", "<xmax>nan<", "corners that are no numbers"),
        ("<xmax>4<", "<xmax>four<", "could not convert"),
        ("<xmax>4</xmax>", "", "no bndbox/xmax"),
        ("<name>dog</name>", "", "no name"),
    ],
)
def test_an_annotation_that_cannot_be_read_is_named(tmp_path: Path, old: str, new: str, wanted: str) -> None:
    write_voc(tmp_path)
    write(annotation(tmp_path), annotation(tmp_path).read_text().replace(old, new, 1))
    with pytest.raises(DatasetInvalid, match=rf"a\.xml.*{wanted}"):
        opened(tmp_path)


def test_missing_files_are_skipped_and_noted(tmp_path: Path) -> None:
    write_voc(tmp_path)
    base = tmp_path / "VOCdevkit" / "VOC2012"
    write(base / "ImageSets" / "Main" / "train.txt", "a\nb\nc\nd\n")
    for name in "bd":
        draw(base / "JPEGImages" / f"{name}.jpg")
    dataset = opened(tmp_path)
    assert [record.image_id[-5:] for record in dataset.records] == ["a.jpg", "b.jpg", "b.jpg"]
    notes = " | ".join(dataset.notes)
    assert "train: 1 image is not there and left out, e.g. " in notes
    assert "1 image has no annotation file and is left out, e.g. " in notes
    assert "val: 1 image is in another split too, e.g. VOCdevkit/VOC2012/JPEGImages/b.jpg" in notes
    annotation(tmp_path, "b").unlink()
    with pytest.raises(DatasetInvalid, match=r"split 'val' is empty: of 1 images in .*val\.txt, none is in"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("listed", "wanted"),
    [(b"../../outside\n", "not a path below"), (b"/etc/x\n", "not a path below"), (b"\xe9\n", "is not UTF-8")],
)
def test_a_list_names_images_of_the_dataset(tmp_path: Path, listed: bytes, wanted: str) -> None:
    write_voc(tmp_path)
    (tmp_path / "VOCdevkit" / "VOC2012" / "ImageSets" / "Main" / "train.txt").write_bytes(listed)
    with pytest.raises(DatasetInvalid, match=rf"train\.txt.*{wanted}"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("torchvision:KITTI", "known are CocoDetection, VOCDetection and VOCDetection2007"),
        ("nowhere", "no detection dataset at nowhere"),
        ("coco:", "names nothing after 'coco:'"),
        ("yolo:", "names nothing after 'yolo:'"),
        ("torchvision:", "names nothing after 'torchvision:'"),
        ("coco:nowhere", "no COCO annotations in nowhere"),
        ("yolo:nowhere", "no YOLO dataset at nowhere"),
        (".", "no COCO or YOLO annotations in ."),
    ],
)
def test_an_unknown_source_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, wanted: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DatasetInvalid, match=wanted):
        open_detection_dataset(source)
