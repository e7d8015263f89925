"""Whatever is not as COCO has it is refused in one line that names the file and the entry."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from storage.datasets.base import DatasetInvalid
from storage.datasets.coco.file import CocoImage, read_coco_file

IMAGE = {"id": 1, "file_name": "1.jpg", "width": 8, "height": 8}
ANNOTATION = {"id": 5, "image_id": 1, "category_id": 3, "bbox": [0, 0, 4, 4]}
CATEGORY = {"id": 3, "name": "car"}


def document(**parts: Any) -> dict[str, Any]:
    return {"images": [IMAGE], "annotations": [ANNOTATION], "categories": [CATEGORY], **parts}


def written(root: Path, content: Any) -> Path:
    path = root / "a.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def refusal(root: Path, content: Any) -> str:
    path = written(root, content)
    with pytest.raises(DatasetInvalid) as raised:
        read_coco_file(path)
    assert str(path) in str(raised.value)
    assert len(str(raised.value)) < 500
    return str(raised.value)


BBOXES: list[object] = [
    [],
    [1, 2, 3],
    [1, 2, 3, 4, 5],
    "1 2 3 4",
    None,
    ["1", "2", "3", "4"],
    [0, 0, None, 4],
    {"x": 1},
]
BBOXES += [[0, 0, True, 4], [[0], 0, 4, 4], [0, 0, float("nan"), 4], [float("inf"), 0, 4, 4], [0, 0, 10**400, 4]]
BBOXES += [[1e308, 0, 1e308, 4], 7, True]


@pytest.mark.parametrize("bbox", BBOXES)
def test_a_box_is_four_finite_numbers(tmp_path: Path, bbox: Any) -> None:
    said = refusal(tmp_path, document(annotations=[ANNOTATION, {**ANNOTATION, "bbox": bbox}]))
    assert "annotations[1].bbox is " in said
    assert "it must be four numbers: left, top, width and height" in said


@pytest.mark.parametrize(
    ("part", "entry", "field", "values"),
    [
        ("annotations", ANNOTATION, "id", ["x", None, True, 1.5, [], "1" * 5000]),
        ("annotations", ANNOTATION, "image_id", [None, True, 1.5, [], {}, ""]),
        ("annotations", ANNOTATION, "category_id", ["car", None, True, 1.5, []]),
        ("annotations", ANNOTATION, "iscrowd", ["0", 2, [], 0.5]),
        ("images", IMAGE, "id", [None, True, 1.5, [], {}]),
        ("images", IMAGE, "file_name", [7, None, "", [], True]),
        ("images", IMAGE, "width", ["8", None, True, 8.5, 0, -8, float("nan"), []]),
        ("images", IMAGE, "height", ["8", None, 0]),
        ("categories", CATEGORY, "id", [None, True, 1.5, "x"]),
        ("categories", CATEGORY, "name", [None, "", " ", [], True, "\ud800"]),
    ],
)
def test_a_value_of_the_wrong_type_is_named(
    tmp_path: Path, part: str, entry: dict[str, Any], field: str, values: list[Any]
) -> None:
    for value in values:
        said = refusal(tmp_path, document(**{part: [{**entry, field: value}]}))
        assert f"{part}[0].{field} is " in said
        assert "it must be " in said


@pytest.mark.parametrize("part", ["images", "annotations", "categories"])
@pytest.mark.parametrize("value", [None, {}, "", 3, True])
def test_a_part_that_is_no_list(tmp_path: Path, part: str, value: Any) -> None:
    assert f"has no list '{part}'" in refusal(tmp_path, document(**{part: value}))


@pytest.mark.parametrize("part", ["images", "annotations", "categories"])
@pytest.mark.parametrize("entry", [None, [], "id", 3])
def test_an_entry_that_is_no_object(tmp_path: Path, part: str, entry: Any) -> None:
    assert f"{part}[0] is " in refusal(tmp_path, document(**{part: [entry]}))


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("[]", "has no list 'images'"),
        ("null", "has no list 'images'"),
        ("", "is no valid JSON"),
        ('{"images": [{"id": 1' + "0" * 5000 + "}]}", "is no valid JSON"),
    ],
)
def test_invalid_coco_documents_are_rejected(tmp_path: Path, content: str, wanted: str) -> None:
    assert wanted in refusal(tmp_path, content)


@pytest.mark.parametrize(
    ("parts", "wanted"),
    [
        ({"images": [IMAGE, {**IMAGE, "file_name": "2.jpg"}]}, r"images\[1\] has the id 1 of 1\.jpg"),
        ({"categories": [CATEGORY, {**CATEGORY, "name": "van"}]}, r"categories\[1\] has the id 3 and the name 'van'"),
        ({"categories": [CATEGORY, {**CATEGORY, "id": 4}]}, r"categories\[1\] has the id 4 and the name 'car'"),
    ],
)
def test_ids_and_names_are_given_once(tmp_path: Path, parts: dict[str, Any], wanted: str) -> None:
    assert re.search(wanted, refusal(tmp_path, document(**parts)))


def test_files_of_other_tools_are_read(tmp_path: Path) -> None:
    """A byte order mark, whole floats, numbers as texts, texts as image ids, and no sizes."""
    content = {
        "images": [{"id": "one", "file_name": "1.jpg"}, {**IMAGE, "id": 2.0, "width": 8.0}],
        "annotations": [{**ANNOTATION, "id": "7", "image_id": "one", "category_id": 3.0, "iscrowd": None}],
        "categories": [{"id": "3", "name": 5}],
    }
    found = read_coco_file(written(tmp_path, "\ufeff" + json.dumps(content)))
    assert found.images == (CocoImage("one", "1.jpg", None), CocoImage(2, "1.jpg", (8, 8)))
    assert found.objects[0][:4] == (7, "one", 3, (0, 0, 4, 4))
    assert found.categories == {3: "5"}
