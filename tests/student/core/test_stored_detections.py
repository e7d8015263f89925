from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from student.core.stored_detections import detection_splits, match_boxes, overlaps, read_detections, write_detections

BOXES = np.array([[0.0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50]])
DETECTIONS = pl.DataFrame(
    {
        "image_id": ["a"] * 4,
        "label": ["cat", "cat", "dog", "cat"],
        "score": [0.6, 0.9, 0.8, 0.5],
        "left": [0.0, 0.0, 20.0, 44.0],
        "top": [0.0, 0.0, 20.0, 44.0],
        "right": [10.0, 10.0, 30.0, 54.0],
        "bottom": [10.0, 8.0, 30.0, 54.0],
    }
)


def test_overlap_is_intersection_over_union() -> None:
    found = overlaps(BOXES[:2], np.array([[0.0, 0, 10, 5], [5, 0, 15, 10], [0, 0, 0, 0]]))
    assert found[0] == pytest.approx([0.5, 1 / 3, 0])
    assert found[1].tolist() == [0, 0, 0]


def test_the_most_probable_detection_finds_a_box_and_others_are_mistakes() -> None:
    found_by, finds = match_boxes(BOXES, ["cat", "cat", "cat"], DETECTIONS)
    assert found_by.tolist() == [
        1,
        -1,
        -1,
    ]  # the second box is a cat that is called a dog, the third overlaps too little
    assert finds.tolist() == [-1, 0, -1, -1]


def test_images_without_boxes_have_mistakes_only() -> None:
    found_by, finds = match_boxes(np.empty((0, 4)), [], DETECTIONS)
    assert (found_by.tolist(), finds.tolist()) == ([], [-1] * 4)
    assert match_boxes(BOXES, ["cat"] * 3, DETECTIONS.clear())[0].tolist() == [-1] * 3


def test_detections_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_detections(tmp_path, "test", DETECTIONS)
    assert detection_splits(tmp_path) == ["test"]
    found = read_detections(tmp_path, "test")
    assert found is not None
    assert found.equals(DETECTIONS)
    (tmp_path / "detections-test.parquet").write_bytes(b"damaged")
    assert read_detections(tmp_path, "test") is None
    assert read_detections(tmp_path, "val") is None
