"""Mean average precision of boxes, as COCO measures it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from storage.datasets.detection import DetectionDataset
from student.core.images import Images
from student.detection.examples import cache_scale

# Scores of all boxes, by their places in COCOeval.stats.
SCORES = {"map": 0, "map50": 1, "map75": 2, "small": 3, "medium": 4, "large": 5, "recall": 8}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassPrecision:
    """mAP of one class, None where the split has none of its boxes."""

    class_name: str
    boxes: int
    map: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionScores:
    """COCO's metrics, shares in 0..1: `map` is the mean over overlaps of 0.50 to 0.95 and over the classes, `map50` and
    `map75` of one overlap each, `small`, `medium` and `large` of boxes below 32 x 32, below 96 x 96 and of the others,
    `recall` that of the 100 best boxes an image. None where there are no such boxes."""

    map: float
    map50: float
    map75: float
    small: float | None
    medium: float | None
    large: float | None
    recall: float
    per_class: tuple[ClassPrecision, ...]


def score_boxes(dataset: DetectionDataset, images: Images, found: list[dict[str, Tensor]]) -> DetectionScores:
    """COCO's metrics of what was found, at the dataset's own resolution. Finding an ignored box is no mistake."""
    truth, detections = [], []
    counts = np.zeros(len(dataset.class_names), dtype=int)
    for index, (record, one) in enumerate(zip(images.records, found, strict=True)):
        for box in dataset.boxes[record.image_id]:
            truth.append(_annotation(index, box.label, box.corners) | {"iscrowd": int(box.ignored)})
            counts[box.label] += not box.ignored
        places = (one["boxes"] / cache_scale(dataset, images, index)).tolist()
        for label, score, corners in zip(one["labels"].tolist(), one["scores"].tolist(), places, strict=True):
            detections.append(_annotation(index, label, corners) | {"iscrowd": 0, "score": score})
    every, precision_C = _coco_scores(truth, detections, len(images), len(counts))
    values: dict[str, Any] = {name: _share(every[place]) for name, place in SCORES.items()}
    return DetectionScores(
        **values | {name: values[name] or 0.0 for name in ("map", "map50", "map75", "recall")},
        per_class=tuple(
            ClassPrecision(class_name=name, boxes=int(count), map=_share(precision) if count else None)
            for name, count, precision in zip(dataset.class_names, counts, precision_C, strict=True)
        ),
    )


def _annotation(image: int, label: int, corners: Sequence[float]) -> dict[str, Any]:
    """A box as COCO's files have it."""
    left, top, right, bottom = corners
    width, height = right - left, bottom - top
    return {"image_id": image, "category_id": label, "bbox": [left, top, width, height], "area": width * height}


def _coco_scores(
    truth: list[dict[str, Any]], detections: list[dict[str, Any]], images: int, classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """COCOeval.stats, and the mAP of each class; -1 where there is nothing to find."""
    with redirect_stdout(io.StringIO()):  # it prints what it does, and a table
        evaluation = COCOeval(_coco(truth, images, classes), _coco(detections, images, classes), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    # [overlaps, recalls, classes, areas, counts]: boxes of all areas, the 100 best of each image.
    precision_TRC = evaluation.eval["precision"][..., 0, -1]
    return evaluation.stats, precision_TRC.mean(axis=(0, 1))


def _coco(annotations: list[dict[str, Any]], images: int, classes: int) -> COCO:
    coco = COCO()
    coco.dataset = {
        "images": [{"id": image} for image in range(images)],
        "categories": [{"id": label} for label in range(classes)],
        # COCOeval takes the id 0 for a box that was not found.
        "annotations": [annotation | {"id": number} for number, annotation in enumerate(annotations, start=1)],
    }
    coco.createIndex()
    return coco


def _share(value: float) -> float | None:
    """COCO gives -1 where there is nothing to find."""
    return float(value) if value >= 0 else None
