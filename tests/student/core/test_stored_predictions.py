from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from student.core.stored_predictions import (
    SHARES,
    PredictionOrder,
    accuracy_by_confidence,
    confusion_counts,
    disagreements,
    select_predictions,
)

PREDICTIONS = pl.DataFrame(
    {
        "image_id": ["a", "b", "c", "d"],
        "label": ["x", "x", "y", "y"],
        "predicted": ["x", "y", "y", "y"],
        "probability": [0.9, 0.8, 0.7, 0.6],
        "label_probability": [0.9, 0.1, 0.7, 0.6],
    }
)


def test_confusions_are_counted_by_label_and_predicted_class() -> None:
    assert confusion_counts(PREDICTIONS, ["x", "y", "z"]).tolist() == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]


def test_accuracy_rises_where_unsure_images_are_left_out() -> None:
    found = accuracy_by_confidence(PREDICTIONS)
    assert [(one.images, one.threshold, one.accuracy) for one in found if one.share in (1.0, 0.5)] == [
        (4, 0.6, 0.75),
        (2, 0.8, 0.5),
    ]
    assert (len(found), found[-1].images) == (len(SHARES), 1)
    assert accuracy_by_confidence(PREDICTIONS.clear()) == []


@pytest.mark.parametrize(
    ("label", "predicted", "wrong", "order", "expected"),
    [
        (None, None, False, "stored", "abcd"),
        ("x", None, False, "unsure", "ba"),
        (None, "y", False, "confident", "bcd"),
        (None, None, True, "stored", "b"),
        (None, None, False, "wrong", "bdca"),
        ("z", None, False, "stored", ""),
    ],
)
def test_images_are_selected(
    label: str | None, predicted: str | None, wrong: bool, order: PredictionOrder, expected: str
) -> None:
    found = select_predictions(PREDICTIONS, label=label, predicted=predicted, wrong=wrong, order=order)
    assert "".join(found["image_id"]) == expected


def test_disagreements_are_the_largest_difference_of_each_image() -> None:
    student = pl.DataFrame({"image_id": ["c", "a", "x"], "red": [0.9, 0.5, 0.1], "big": [0.2, 0.5, 0.1]})
    teacher = np.array([[0.25, 0.0, 0.5], [0.5, 0.0, np.nan], [0.9, 0.9, 0.9]], np.float32)  # red, big, other
    found = disagreements(student, pl.Series(["a", "b", "c"]), teacher, ["red", "big", "other"], 5)
    assert found == [
        {"image_id": "c", "key": "red", "student": 0.9, "teacher": 0.5},
        {"image_id": "a", "key": "red", "student": 0.5, "teacher": 0.25},
    ]
    assert disagreements(student[2:], pl.Series(["a"]), teacher[:, :1], ["red", "big", "other"], 5) == []
