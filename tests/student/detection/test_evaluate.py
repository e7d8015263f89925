"""Mean average precision by hand, and by pycocotools on COCO's own files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from storage.datasets import DetectionDataset, open_detection_dataset
from storage.datasets.base import ImageRecord
from storage.datasets.detection import Box, image_record
from student.core.cache import ImageCache
from student.detection.evaluate import detection_table
from student.detection.precision import score_boxes
from tests.conftest import link_coco128

FIRST, SECOND = image_record("a.png", "test"), image_record("b.png", "test")


def dataset_of(boxes: dict[str, tuple[Box, ...]]) -> DetectionDataset:
    return DetectionDataset(
        name="few",
        class_names=("cat", "dog", "bird"),
        records=[FIRST, SECOND],
        places={},
        boxes={"a.png": (), "b.png": (), **boxes},
        sizes={"a.png": (200, 100), "b.png": (200, 100)},
    )


def cache(records: tuple[ImageRecord, ...]) -> ImageCache:
    """Images that were shrunk to half of their size."""
    return ImageCache(records, (), Path("none"), np.array([[50, 100]] * len(records)))


def found(*boxes: tuple[int, float, list[float]]) -> dict[str, torch.Tensor]:
    """(label, score, corners in the dataset's pixels) as a detector says them of the image in the cache."""
    return {
        "boxes": torch.tensor([corners for *_, corners in boxes], dtype=torch.float32).view(-1, 4) / 2,
        "labels": torch.tensor([label for label, *_ in boxes], dtype=torch.int64),
        "scores": torch.tensor([score for _, score, _ in boxes]),
    }


def test_precision_by_hand() -> None:
    cats = (Box(number=0, label=0, corners=(0, 0, 20, 20)), Box(number=1, label=0, corners=(100, 0, 150, 50)))
    dog = Box(number=2, label=1, corners=(0, 50, 100, 100))
    dataset = dataset_of({"a.png": (*cats, dog)})
    scores = score_boxes(
        dataset,
        cache((FIRST, SECOND)),
        [
            # The first cat exactly; a false one; the second cat with an overlap of 0.82.
            found((0, 0.9, [0, 0, 20, 20]), (0, 0.8, [60, 60, 80, 80]), (0, 0.7, [100, 0, 150, 41])),
            found(),
        ],
    )
    # Precision 1 up to a recall of 1/2, 2/3 from there on: 51 and 50 of COCO's 101 places. The second cat counts at
    # overlaps of 0.50 to 0.80; without it there is recall 1/2 alone. The dog is never found, birds there are none.
    both, first = (51 + 50 * 2 / 3) / 101, 51 / 101
    assert scores.map50 == pytest.approx(both / 2, abs=1e-4)
    assert scores.map75 == pytest.approx(both / 2, abs=1e-4)
    cat, dog_score, bird = scores.per_class
    assert cat.map == pytest.approx((7 * both + 3 * first) / 10, abs=1e-4)
    assert (cat.boxes, dog_score.boxes, bird.boxes) == (2, 1, 0)
    assert dog_score.map == 0
    assert bird.map is None
    assert cat.map is not None
    assert scores.map == pytest.approx(cat.map / 2, abs=1e-4)
    assert scores.small == pytest.approx(1.0)  # 20 x 20, the only one of its size
    assert scores.large is None


def test_a_box_on_a_crowd_is_no_mistake() -> None:
    cat = Box(number=0, label=0, corners=(0, 0, 20, 20))
    crowd = Box(number=1, label=0, corners=(50, 0, 200, 100), ignored=True)
    said = [found((0, 0.9, [60, 10, 100, 50]), (0, 0.8, [0, 0, 20, 20])), found()]
    images = cache((FIRST, SECOND))
    assert score_boxes(dataset_of({"a.png": (cat, crowd)}), images, said).map == pytest.approx(1.0)
    assert score_boxes(dataset_of({"a.png": (cat,)}), images, said).map == pytest.approx(0.5)


def test_nothing_found_is_0() -> None:
    dataset = dataset_of({"a.png": (Box(number=0, label=0, corners=(0, 0, 20, 20)),)})
    scores = score_boxes(dataset, cache((FIRST, SECOND)), [found(), found()])
    assert (scores.map, scores.map50, scores.recall) == (0, 0, 0)


def test_the_truth_is_perfect_on_real_images(shared_data: Path, tmp_path: Path) -> None:
    dataset = open_detection_dataset(str(link_coco128(shared_data, tmp_path / "coco128")))
    records = tuple(record for record in dataset.records if record.split == "val")[:40]
    shapes = np.array([dataset.sizes[record.image_id][::-1] for record in records])
    said = [
        {
            "boxes": torch.tensor([box.corners for box in dataset.boxes[record.image_id]]).view(-1, 4),
            "labels": torch.tensor([box.label for box in dataset.boxes[record.image_id]], dtype=torch.int64),
            "scores": torch.ones(len(dataset.boxes[record.image_id])),
        }
        for record in records
    ]
    scores = score_boxes(dataset, ImageCache(records, (), Path("none"), shapes), said)
    assert scores.map == pytest.approx(1.0)
    assert scores.small == scores.medium == scores.large == pytest.approx(1.0)


def test_detections_are_in_pixels_of_the_dataset() -> None:
    dataset = dataset_of({})
    table = detection_table(dataset, cache((FIRST, SECOND)), [found(), found((1, 0.75, [100, 0, 150, 41]))])
    assert table.rows() == [("b.png", "dog", 0.75, 100.0, 0.0, 150.0, 41.0)]
