"""Examples in the format that each tool writes, opened by the path alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage.datasets import DatasetInvalid, DetectionDataset, ImageDataset, open_dataset, open_detection_dataset
from tests.storage.datasets.test_image_size import oriented
from tests.storage.datasets.tiny_images import draw, write


def labels(dataset: ImageDataset) -> list[tuple[str, str, str]]:
    return [(record.image_id, record.split, record.label_name) for record in dataset.records]


def boxes(dataset: DetectionDataset) -> list[tuple[str, str, list[tuple[str, tuple[float, ...]]]]]:
    return [
        (
            record.image_id,
            record.split,
            [(dataset.class_names[box.label], box.corners) for box in dataset.boxes[record.image_id]],
        )
        for record in dataset.records
    ]


def fiftyone(root: Path, kind: str) -> None:
    """FiftyOneDataset: samples.json as `dataset.export(dataset_type=fo.types.FiftyOneDataset)` writes it."""
    classification: dict[str, Any] = {
        "_id": {"$oid": "65f0"},
        "_cls": "Classification",
        "tags": [],
        "label": "cat",
        "logits": None,
    }
    detection: dict[str, Any] = {
        "_id": {"$oid": "65f1"},
        "_cls": "Detection",
        "attributes": {},
        "tags": [],
        "label": "dog",
    }
    fields: dict[str, list[dict[str, Any]]] = {
        "labels": [classification, {**classification, "label": "dog"}],
        "boxes": [
            {"_cls": "Detections", "detections": [{**detection, "bounding_box": [0.25, 0.5, 0.5, 0.25]}]},
            {"_cls": "Detections", "detections": []},
        ],
    }
    found = fields[kind]
    samples: list[dict[str, Any]] = []
    for number, (tag, field) in enumerate(zip(("train", "validation"), found, strict=True), start=1):
        draw(root / "data" / f"{number}.jpg", number)
        metadata = {"_cls": "ImageMetadata", "size_bytes": 631, "mime_type": "image/jpeg", "width": 8, "height": 8}
        samples.append({"_id": {"$oid": f"65e{number}"}, "filepath": f"data/{number}.jpg", "tags": [tag, "checked"]})
        samples[-1] |= {"metadata": metadata, "_media_type": "image", "_rand": 0.5, "ground_truth": field}
    write(root / "samples.json", json.dumps({"samples": samples}))
    write(root / "metadata.json", json.dumps({"_id": {"$oid": "1"}, "name": "pets", "sample_fields": []}))


def label_studio(root: Path, kind: str) -> None:
    """Label Studio's JSON of two tasks, whose images were uploaded."""
    value: dict[str, Any] = {"x": 25, "y": 50, "width": 50, "height": 25, "rotation": 0, "rectanglelabels": ["dog"]}
    size = {"original_width": 8, "original_height": 8, "image_rotation": 0, "to_name": "image", "origin": "manual"}
    result: list[dict[str, Any]] = {
        "labels": [{"id": "x1", "type": "choices", "from_name": "choice", "value": {"choices": ["cat"]}, **size}],
        "boxes": [{"id": "x2", "type": "rectanglelabels", "from_name": "label", "value": value, **size}],
    }[kind]
    other = [{**result[0], "value": {"choices": ["dog"]}}] if kind == "labels" else []
    tasks: list[dict[str, Any]] = []
    for number, (name, its) in enumerate((("1.jpg", result), ("2.jpg", other)), start=1):
        draw(root / "images" / name, number)
        annotation = {"id": number, "completed_by": 1, "result": its, "was_cancelled": False, "ground_truth": False}
        tasks.append({"id": number, "annotations": [annotation], "file_upload": f"0a1b2c3d-{name}", "predictions": []})
        tasks[-1]["data"] = {"image": f"/data/upload/1/0a1b2c3d-{name}"}
    write(root / "project-1-at-2026-05-04-10-11-4f5e6d7c.json", json.dumps(tasks))


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><id>7</id><name>pets</name><labels>
    <label><name>dog</name><color>#33ddff</color><type>any</type><attributes></attributes></label>
    <label><name>cat</name><color>#ff0000</color><type>any</type><attributes></attributes></label>
  </labels></task><dumped>2026-05-04 10:11:12.131415+00:00</dumped></meta>
  <image id="0" name="1.jpg" width="8" height="8" subset="Train">{first}</image>
  <image id="1" name="2.jpg" width="8" height="8" subset="Validation">{second}</image>
</annotations>
"""


def cvat(root: Path, kind: str) -> None:
    """CVAT for images 1.1, with its images."""
    first, second = {
        "labels": ('<tag label="cat" source="manual"></tag>', '<tag label="dog" source="manual"></tag>'),
        "boxes": (
            '<box label="dog" source="manual" occluded="0" xtl="2.00" ytl="4.00" xbr="6.00" ybr="6.00" z_order="0"/>'
            '<polyline label="dog" source="manual" occluded="0" points="1.0,1.0;2.0,2.0" z_order="0"></polyline>',
            "",
        ),
    }[kind]
    for number in (1, 2):
        draw(root / "images" / f"{number}.jpg", number)
    write(root / "annotations.xml", CVAT.format(first=first, second=second))


@pytest.mark.parametrize(
    ("made", "folder", "splits"),
    [
        (fiftyone, "data", ("train", "validation")),
        (label_studio, "images", ("train", "train")),
        (cvat, "images", ("train", "validation")),
    ],
)
def test_labels_and_boxes(
    tmp_path: Path, made: Callable[[Path, str], None], folder: str, splits: tuple[str, str]
) -> None:
    made(tmp_path / "a", "labels")
    first, second = f"{folder}/1.jpg", f"{folder}/2.jpg"
    assert labels(open_dataset(str(tmp_path / "a"))) == [(first, splits[0], "cat"), (second, splits[1], "dog")]
    with pytest.raises(DatasetInvalid, match="has a box; for labels of whole images, use --task classification"):
        open_detection_dataset(str(tmp_path / "a"))
    made(tmp_path / "b", "boxes")
    dataset = open_detection_dataset(str(tmp_path / "b"))
    assert boxes(dataset) == [(first, splits[0], [("dog", (2, 4, 6, 6))]), (second, splits[1], [])]
    assert dataset.name == "b"
    with pytest.raises(DatasetInvalid, match="has a label for the whole image; for boxes, use --task detection"):
        open_dataset(str(tmp_path / "b"))


def test_fiftyones_lists_of_labels(tmp_path: Path) -> None:
    for name in ("1", "2"):
        draw(tmp_path / "data" / f"{name}.jpg")
    write(tmp_path / "labels.json", json.dumps({"classes": ["dog", "cat"], "labels": {"1": 1, "2": 0}}))
    dataset = open_dataset(str(tmp_path))
    assert labels(dataset) == [("data/1.jpg", "train", "cat"), ("data/2.jpg", "train", "dog")]
    assert dataset.class_names == ("dog", "cat")
    box = {"label": 1, "bounding_box": [0.25, 0.5, 0.5, 0.25]}
    write(tmp_path / "labels.json", json.dumps({"classes": ["dog", "cat"], "labels": {"1": [box], "2": []}}))
    assert boxes(open_detection_dataset(str(tmp_path)))[0] == ("data/1.jpg", "train", [("cat", (2, 4, 6, 6))])


def test_a_class_tree_without_splits(tmp_path: Path) -> None:
    """FiftyOne's ImageClassificationDirectoryTree."""
    for number in range(40):
        draw(tmp_path / ("cat" if number % 2 else "dog") / f"{number}.png", number)
    draw(tmp_path / "_unlabeled" / "x.png")
    with pytest.raises(DatasetInvalid, match=r"or hold out a fifth for testing: '.*\?test=0.2'"):
        open_dataset(str(tmp_path))
    dataset = open_dataset(f"{tmp_path}?test=0.3")
    splits = [record.split for record in dataset.records]
    assert splits == sorted(splits, key=["train", "test", "unlabelled"].index)
    assert (splits.count("unlabelled"), dataset.class_names) == (1, ("cat", "dog"))
    assert 5 < splits.count("test") < 20
    draw(tmp_path / "one" / "cat" / "1.png")
    with pytest.raises(DatasetInvalid, match=r"has one class folder \(cat\)"):
        open_dataset(f"{tmp_path}/one?test=0.3")
    for split in ("train", "test"):
        draw(tmp_path / "with" / split / "dog" / "1.png")
    with pytest.raises(DatasetInvalid, match="has a split 'test', so test= holds nothing out"):
        open_dataset(f"{tmp_path}/with?test=0.3")


def test_label_studios_annotators_and_addresses(tmp_path: Path) -> None:
    for name in ("a b.jpg", "2.jpg", "3.jpg", "4.jpg"):
        draw(tmp_path / "pets" / name)

    def choice(*given: str, cancelled: bool = False) -> dict[str, Any]:
        return {
            "result": [{"type": "choices", "value": {"choices": [one]}} for one in given],
            "was_cancelled": cancelled,
        }

    tasks = [
        {
            "data": {"image": "/data/local-files/?d=pets/a%20b.jpg"},
            "annotations": [choice("cat"), choice("cat", "dog")],
        },
        {"data": {"image": "s3://bucket/pets/2.jpg"}, "annotations": [choice("dog"), choice("cat", cancelled=True)]},
        {"data": {"image": "https://example.com/pets/3.jpg?size=2"}, "annotations": [choice("dog"), choice("cat")]},
    ]
    write(tmp_path / "export.json", json.dumps(tasks))
    dataset = open_dataset(f"label-studio:{tmp_path / 'export.json'}")
    assert (
        labels(dataset)
        == [
            ("pets/a b.jpg", "train", "cat"),
            ("pets/2.jpg", "train", "dog"),
            ("pets/3.jpg", "unlabelled", ""),
        ]
        or labels(dataset)[0][0] == "pets/2.jpg"
    )
    assert "annotators disagree about 1 image, in 'unlabelled': pets/3.jpg" in dataset.notes
    assert "1 image without a description left out: pets/4.jpg" in dataset.notes
    smallest = [{"id": 1, "image": "/data/upload/1/0a1b2c3d-2.jpg", "choice": "cat", "annotator": 1}]
    write(tmp_path / "export.json", json.dumps(smallest))
    assert labels(open_dataset(f"label-studio:{tmp_path}")) == [("pets/2.jpg", "train", "cat")]


def test_turned_shapes_are_read_as_the_box_around_them(tmp_path: Path) -> None:
    draw(tmp_path / "1.png")
    box = '<box label="dog" xtl="2" ytl="3" xbr="6" ybr="5" rotation="90"/>'
    polygon = '<polygon label="cat" points="1.00,2.00;3.50,2.50;2.00,7.00"/>'
    write(tmp_path / "annotations.xml", CVAT.format(first=box + polygon, second="").replace("1.jpg", "1.png"))
    dataset = open_detection_dataset(f"cvat:{tmp_path}")
    turned, outlined = dataset.boxes["1.png"]
    assert turned.corners == pytest.approx((3, 2, 5, 6))
    assert outlined.corners == (1, 2, 3.5, 7)
    assert "train: 1 image is not there" not in " ".join(dataset.notes)
    assert "Validation: 1 image is not there and left out, e.g. 2.jpg" in " ".join(dataset.notes)


VOC = """<annotation>
	<folder>images</folder><filename>{stem}.jpg</filename><path>C:\\me\\images\\{stem}.jpg</path>
	<source><database>Unknown</database></source>
	<size><width>{size}</width><height>8</height><depth>3</depth></size><segmented>0</segmented>
	<object><name>my own class</name><pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>
		<bndbox><xmin>3</xmin><ymin>5</ymin><xmax>6</xmax><ymax>6</ymax></bndbox></object>
</annotation>
"""


@pytest.mark.parametrize("folder", ["", "images", "train"])
def test_labelimgs_voc_with_own_classes(tmp_path: Path, folder: str) -> None:
    for stem in "ab":
        draw(tmp_path / folder / f"{stem}.jpg")
    for stem in "ac":
        annotations = "Annotations" if folder == "images" else folder
        write(tmp_path / annotations / f"{stem}.xml", VOC.format(stem=stem, size=8))
    dataset = open_detection_dataset(str(tmp_path))
    image_id = f"{folder}/a.jpg".removeprefix("/")
    assert boxes(dataset) == [(image_id, "train", [("my own class", (2, 4, 6, 6))])]
    notes = " ".join(dataset.notes)
    assert "1 image is not there and left out" in notes
    assert "1 image is in no annotation file and left out" in notes


def test_boxes_are_turned_with_their_image(tmp_path: Path) -> None:
    oriented(tmp_path / "a.jpg", 6)
    write(tmp_path / "a.xml", VOC.format(stem="a", size=12))
    assert open_detection_dataset(str(tmp_path)).boxes["a.jpg"][0].corners == (2, 2, 4, 6)


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("annotations.xml", "<annotations/>", "has no images; export the task as 'CVAT for images 1.1'"),
        ("annotations.xml", CVAT.format(first='<tag label=""/>', second=""), "label of a tag is ''; it must"),
        ("annotations.xml", CVAT.format(first='<box label="a" xtl="x"/>', second=""), "image 1.jpg, box, corners is "),
        ("annotations.xml", '<!DOCTYPE a SYSTEM "/etc/passwd"><annotations/>', "declares a document type"),
        ("samples.json", "[]", "samples.json: 'samples' is .*; it must be a list"),
        ("samples.json", '{"samples": [{"filepath": "1.jpg"}]}', "has no field of labels; name one: "),
        ("samples.json", '{"samples": [{"filepath": 0.5, "x": {"_cls": "Classification"}}]}', r"\[0\].filepath"),
        ("labels.json", '{"classes": ["a"], "labels": {"1": 3}}', r"labels\['1'\] is 3; it must be the number"),
        ("labels.json", '{"labels": []}', "'labels' is .*; it must be an object"),
        ("project-1-at-2.json", '{"a": 1}', "it must be a list of objects"),
        ("project-1-at-2.json", '[{"data": {}, "annotations": []}]', "task 1, image is None"),
        ("project-1-at-2.json", "[", "is no valid JSON"),
        ("project-1-at-2.json", '[{"image": "/a/9.jpg", "choice": "a"}]', "describes 1 image, e.g. a/9.jpg, but none"),
    ],
)  # fmt: skip
def test_a_bad_export_is_one_line(tmp_path: Path, file: str, content: str, reason: str) -> None:
    draw(tmp_path / "data" / "1.jpg")
    write(tmp_path / file, content)
    with pytest.raises(DatasetInvalid, match=reason) as caught:
        open_dataset(str(tmp_path)) if "box" not in reason else open_detection_dataset(str(tmp_path))
    assert "\n" not in str(caught.value)
