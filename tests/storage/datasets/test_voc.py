from __future__ import annotations

from pathlib import Path

import pytest

from storage.datasets.base import DatasetInvalid
from storage.datasets.open import open_detection_dataset
from tests.storage.datasets.pictures import draw, write

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


def test_pixels_count_from_1_and_difficult_ones_are_ignored(tmp_path: Path):
    write_voc(tmp_path)
    dataset = open_detection_dataset("torchvision:VOCDetection", root=tmp_path)
    assert dataset.name == "VOC2012"
    assert [record.split for record in dataset.records] == ["train", "val"]
    dog, cat = dataset.boxes[dataset.records[0].image_id]
    assert (dataset.class_names[dog.label], dog.corners, dog.ignored) == ("dog", (1, 0, 4, 8), False)
    assert (dataset.class_names[cat.label], cat.ignored) == ("cat", True)
    assert dataset.boxes[dataset.records[1].image_id] == ()
    assert dataset.read(dataset.records[0].image_id)


def test_mistakes_are_named(tmp_path: Path):
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


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("torchvision:KITTI", "known are CocoDetection, VOCDetection and VOCDetection2007"),
        ("nowhere", "no detection dataset at nowhere"),
        ("coco:nowhere", "no COCO annotations in nowhere"),
        ("yolo:nowhere", "no YOLO dataset at nowhere"),
        (".", "no COCO or YOLO annotations in ."),
    ],
)
def test_a_source_that_is_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, wanted: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DatasetInvalid, match=wanted):
        open_detection_dataset(source)
