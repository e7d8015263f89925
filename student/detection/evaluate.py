"""Evaluate a trained detector: mean average precision as COCO measures it, aspects against the teacher."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import Tensor

from storage.datasets.base import select
from storage.datasets.detection import DetectionDataset, box_id, require_boxes
from student.core.backbones import to_channels_last
from student.core.evaluation import (
    EVALUATION_FILE,
    AspectScore,
    mean_of_known,
    read_scores,
    require_same_classes,
    score_shared_aspects,
)
from student.core.examples import log_odds_by_id
from student.core.files import only_user, parse, write_json
from student.core.images import Images
from student.core.progress import ImageBar
from student.core.settings import Accelerator
from student.core.stored_detections import SIDES, write_detections
from student.detection.examples import DetectionAnswers, cache_scale, detection_cache, detection_digest
from student.detection.model import Detector
from student.detection.precision import DetectionScores, score_boxes
from student.detection.runs import TrainedDetector, load_detector_run

BATCH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionEvaluation:
    """Scores of one detector on one split. Aspects are scored on the dataset's own boxes, and on whole images."""

    dataset: str
    split: str
    digest: str  # of the split's ids, boxes and answers
    images: int
    dropped_images: int
    boxes: int
    scores: DetectionScores
    box_aspects: tuple[AspectScore, ...]
    image_aspects: tuple[AspectScore, ...]

    @property
    def box_auroc(self) -> float | None:
        """Mean over the questions that have one."""
        return mean_of_known(score.auroc for score in self.box_aspects)

    @property
    def image_auroc(self) -> float | None:
        return mean_of_known(score.auroc for score in self.image_aspects)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"box_auroc": self.box_auroc, "image_auroc": self.image_auroc}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DetectionEvaluation:
        """Raises RunInvalid where the fields are not those of an evaluation."""
        return parse(cls, values, Path(EVALUATION_FILE))


def evaluate_detector(
    run_dir: Path,
    dataset: DetectionDataset,
    teacher_answers: DetectionAnswers | None = None,
    split: str = "test",
    *,
    images: Images | None = None,
    accelerator: Accelerator = "cpu",
    progress: bool = False,
) -> DetectionEvaluation:
    """Evaluate the finished run in `run_dir` on `split`, and write `evaluation-SPLIT.json` and
    `detections-SPLIT.parquet` (see student/core/stored_detections.py) there.

    Aspects are scored where the detector has them and `teacher_answers` covers boxes or images of this split. Raises
    ValueErrors of one line, as `evaluate` of classifiers does.
    """
    run = load_detector_run(run_dir)
    description, teacher_answers = run.description, teacher_answers or DetectionAnswers()
    records = select(dataset, (split,))
    require_same_classes(dataset, description, run_dir)
    require_boxes(dataset, (split,))
    decoded = detection_cache(description.config, dataset, records, run_dir / "eval-pixels.uint8", progress=progress)
    with only_user(run_dir), decoded if images is None else nullcontext(images) as images:
        detector = to_channels_last(run.load().to(torch.device(accelerator)))
        found = find_boxes(detector, images, accelerator, progress=progress)
        write_detections(run_dir, split, detection_table(dataset, images, found))
        evaluation = DetectionEvaluation(
            dataset=dataset.name,
            split=split,
            digest=detection_digest(dataset, records, teacher_answers),
            images=len(images),
            dropped_images=len(images.dropped),
            boxes=sum(not box.ignored for record in images.records for box in dataset.boxes[record.image_id]),
            scores=score_boxes(dataset, images, found),
            box_aspects=_score_box_aspects(run, detector, dataset, images, teacher_answers, accelerator),
            image_aspects=_score_image_aspects(run, detector, images, teacher_answers, accelerator),
        )
    write_json(run_dir / EVALUATION_FILE.format(split=split), evaluation.to_dict())
    return evaluation


def read_detection_evaluation(run_dir: Path, split: str) -> DetectionEvaluation | None:
    """What `evaluate_detector` wrote for `split`, None where it has not, or where the file is damaged."""
    return read_scores(DetectionEvaluation, run_dir, split)


@torch.no_grad()
def find_boxes(
    detector: Detector, images: Images, accelerator: Accelerator = "cpu", *, progress: bool = False
) -> list[dict[str, Tensor]]:
    """What the detector, in evaluation mode, finds on all `images`, on the CPU and in pixels of the cached images."""
    found: list[dict[str, Tensor]] = []
    with ImageBar("evaluating", len(images), shown=progress) as bar:
        for shown in _shown(images, accelerator):
            for one in detector(shown):
                found.append({name: tensor.cpu() for name, tensor in one.items()})
            bar.advance(len(shown))
    return found


def detection_table(dataset: DetectionDataset, images: Images, found: list[dict[str, Tensor]]) -> pl.DataFrame:
    """One row for each box that was found, in pixels of the dataset's images (student/core/stored_detections.py)."""
    names = dataset.class_names
    tables = []
    for index, (record, one) in enumerate(zip(images.records, found, strict=True)):
        corners = (one["boxes"] / cache_scale(dataset, images, index)).double().view(-1, 4).numpy()
        tables.append(
            pl.DataFrame(
                {
                    "image_id": pl.Series([record.image_id] * len(corners), dtype=pl.String),
                    "label": pl.Series([names[label] for label in one["labels"].tolist()], dtype=pl.String),
                    "score": pl.Series(one["scores"].tolist(), dtype=pl.Float32),
                    **{side: pl.Series(corners[:, place], dtype=pl.Float32) for place, side in enumerate(SIDES)},
                }
            )
        )
    return pl.concat(tables)


def _score_box_aspects(
    run: TrainedDetector,
    detector: Detector,
    dataset: DetectionDataset,
    images: Images,
    teacher_answers: DetectionAnswers,
    accelerator: Accelerator,
) -> tuple[AspectScore, ...]:
    """The aspects of the dataset's own boxes, so that what is not found at all does not count twice."""
    if teacher_answers.boxes is None or detector.box_aspects is None:
        return ()
    predicted, ids = [], []
    for batch, shown in zip(_batches(images), _shown(images, accelerator), strict=True):
        corners = []
        for index in batch:
            image_id = images.records[index].image_id
            boxes = [box for box in dataset.boxes[image_id] if not box.ignored]
            ids += [box_id(image_id, box) for box in boxes]
            places = torch.tensor([box.corners for box in boxes], dtype=torch.float32).view(-1, 4)
            corners.append((places * cache_scale(dataset, images, index)).to(accelerator))
        predicted += [one.cpu() for one in detector.describe(shown, corners)]
    teacher_NQ = torch.from_numpy(log_odds_by_id(teacher_answers.boxes, ids)).sigmoid()
    keys = [aspect.key for aspect in run.description.box_aspects]
    return score_shared_aspects(torch.cat(predicted), teacher_NQ, keys, teacher_answers.boxes.questions.keys)


def _score_image_aspects(
    run: TrainedDetector,
    detector: Detector,
    images: Images,
    teacher_answers: DetectionAnswers,
    accelerator: Accelerator,
) -> tuple[AspectScore, ...]:
    if teacher_answers.images is None or detector.image_aspects is None:
        return ()
    predicted = [detector.describe_images(shown).cpu() for shown in _shown(images, accelerator)]
    ids = [record.image_id for record in images.records]
    teacher_NQ = torch.from_numpy(log_odds_by_id(teacher_answers.images, ids)).sigmoid()
    keys = [aspect.key for aspect in run.description.image_aspects]
    return score_shared_aspects(torch.cat(predicted), teacher_NQ, keys, teacher_answers.images.questions.keys)


def _batches(images: Images) -> list[range]:
    return [range(start, min(start + BATCH, len(images))) for start in range(0, len(images), BATCH)]


def _shown(images: Images, accelerator: Accelerator) -> Iterator[list[Tensor]]:
    """The images of each of `_batches` as the network is shown them."""
    for batch in images.in_order(BATCH):
        yield [image.to(accelerator).float() / 255 for image in batch]
