from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from storage.datasets import DetectionDataset, open_detection_dataset
from storage.datasets.base import select
from storage.datasets.detection import Box
from student.core.examples import ExamplesInvalid
from student.detection.config import DetectorConfig
from student.detection.examples import (
    DetectionAnswers,
    DetectionExamples,
    detection_cache,
    detection_digest,
    join_detection_examples,
)
from tests.storage.datasets.test_image_size import oriented
from tests.storage.datasets.tiny_images import write
from tests.student.detection.conftest import QUESTIONS


def join(
    config: DetectorConfig, dataset: DetectionDataset, teacher_answers: DetectionAnswers, tmp_path: Path
) -> DetectionExamples:
    records = select(dataset, ("train",))
    with detection_cache(config, dataset, records, tmp_path / "pixels", progress=False) as images:
        return join_detection_examples(config, dataset, images, teacher_answers)


def test_boxes_answers_and_images_are_joined(
    detector_config: DetectorConfig, scenes: DetectionDataset, detection_answers: DetectionAnswers, tmp_path: Path
) -> None:
    examples = join(detector_config.replace(image_size=32), scenes, detection_answers, tmp_path)
    first = scenes.records[0].image_id
    boxes = scenes.boxes[first]
    target = examples.target(0)
    # Images of 64 px, half as large in the cache.
    assert target["boxes"].tolist() == [[side / 2 for side in box.corners] for box in boxes]
    assert target["labels"].tolist() == [box.label for box in boxes]
    assert detection_answers.boxes is not None
    row = detection_answers.boxes.image_ids.index(f"{first}#{boxes[1].number}")
    np.testing.assert_allclose(target["aspects"][1], detection_answers.boxes.p_yes[row], atol=1e-5)
    assert target["image_aspects"].shape == (len(QUESTIONS),)
    assert examples.train_indices.tolist() == list(range(12))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_lie_on_the_same_pixels_as_in_the_teachers_crops(
    detector_config: DetectorConfig, tmp_path: Path, orientation: int
) -> None:
    oriented(tmp_path / "train" / "1.png", orientation, size=(48, 32))
    document = {
        "images": [{"id": 1, "file_name": "1.png", "width": 48, "height": 32}],
        "annotations": [{"id": 5, "image_id": 1, "category_id": 1, "bbox": [2, 1, 3, 2]}],
        "categories": [{"id": 1, "name": "block"}],
    }
    write(tmp_path / "annotations" / "instances_train.json", json.dumps(document))
    dataset = open_detection_dataset(str(tmp_path))
    records = select(dataset, ("train",))
    config = detector_config.replace(method="base")
    with detection_cache(config, dataset, records, tmp_path / "pixels", progress=False) as images:
        examples = join_detection_examples(config, dataset, images, DetectionAnswers())
        image = images.image(0).clone()
    left, top, right, bottom = examples.target(0)["boxes"][0].int().tolist()
    assert image[:, top:bottom, left:right].min() == 255
    image[:, top:bottom, left:right] = 0
    assert image.max() == 0


def test_only_what_the_method_learns_is_there(
    detector_config: DetectorConfig, scenes: DetectionDataset, detection_answers: DetectionAnswers, tmp_path: Path
) -> None:
    for method, shapes in {"base": (0, 0), "box": (5, 0), "image": (0, 5), "both": (5, 5)}.items():
        target = join(detector_config.replace(method=method), scenes, detection_answers, tmp_path).target(0)
        assert (target["aspects"].shape[1], len(target["image_aspects"])) == shapes
    few = detector_config.replace(question_count=2, train_fraction=0.5)
    examples = join(few, scenes, detection_answers, tmp_path)
    assert examples.target(0)["aspects"].shape[1] == 2
    assert len(examples.train_indices) == 6
    off = detector_config.replace(alpha=0.0)
    assert [len(aspects) for aspects in detection_answers.aspects(off)] == [0, 5]


def test_shuffled_answers_are_the_same_answers_about_others(
    detector_config: DetectorConfig, scenes: DetectionDataset, detection_answers: DetectionAnswers, tmp_path: Path
) -> None:
    right = join(detector_config, scenes, detection_answers, tmp_path)
    shuffled = join(detector_config.replace(shuffled=True), scenes, detection_answers, tmp_path)
    for one, other in (
        (torch.cat(right.box_answers), torch.cat(shuffled.box_answers)),
        (right.image_answers, shuffled.image_answers),
    ):
        assert not torch.equal(one, other)
        assert sorted(map(tuple, one.tolist())) == sorted(map(tuple, other.tolist()))
    assert [len(its) for its in right.box_answers] == [len(its) for its in shuffled.box_answers]


def test_ignored_boxes_are_not_learned(
    detector_config: DetectorConfig, scenes: DetectionDataset, tmp_path: Path
) -> None:
    first = scenes.records[0].image_id
    crowd = Box(number=999, label=0, corners=(0, 0, 5, 5), ignored=True)
    crowded = dataclasses.replace(scenes, boxes={**scenes.boxes, first: (crowd,)})
    examples = join(detector_config.replace(method="base"), crowded, DetectionAnswers(), tmp_path)
    assert examples.target(0)["boxes"].shape == (0, 4)


def test_missing_answers_are_named(
    detector_config: DetectorConfig, scenes: DetectionDataset, detection_answers: DetectionAnswers, tmp_path: Path
) -> None:
    with pytest.raises(ExamplesInvalid, match="method 'both' learns from answers about images, but there are none"):
        join(detector_config, scenes, DetectionAnswers(boxes=detection_answers.boxes), tmp_path)
    swapped = DetectionAnswers(images=detection_answers.boxes, boxes=detection_answers.images)
    with pytest.raises(ExamplesInvalid, match=r"about dataset 'scenes\.crop', not 'scenes'"):
        join(detector_config, scenes, swapped, tmp_path)
    assert detection_answers.boxes is not None
    ids = ("elsewhere#1", *detection_answers.boxes.image_ids[1:])
    other = dataclasses.replace(detection_answers, boxes=dataclasses.replace(detection_answers.boxes, image_ids=ids))
    with pytest.raises(ExamplesInvalid, match=r"there are no answers about 1 of \d+ boxes of the training images"):
        join(detector_config, scenes, other, tmp_path)
    dropped = join(detector_config.replace(missing_answers="drop"), scenes, other, tmp_path)
    assert dropped.target(0)["aspects"][0].isnan().all()


def test_the_digest_knows_boxes_and_answers(scenes: DetectionDataset, detection_answers: DetectionAnswers) -> None:
    def digest(dataset: DetectionDataset, teacher_answers: DetectionAnswers) -> str:
        return detection_digest(dataset, select(dataset, ("train",)), teacher_answers)

    first = scenes.records[0].image_id
    moved = dataclasses.replace(scenes, boxes={**scenes.boxes, first: scenes.boxes[first][1:]})
    assert detection_answers.boxes is not None
    flipped = dataclasses.replace(detection_answers.boxes, yes=detection_answers.boxes.no)
    found = {
        digest(scenes, detection_answers),
        digest(moved, detection_answers),
        digest(scenes, DetectionAnswers()),
        digest(scenes, dataclasses.replace(detection_answers, boxes=flipped)),
    }
    assert len(found) == 4
    assert digest(scenes, detection_answers) in found
