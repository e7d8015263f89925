"""A detector's run folder: the files of student/core/runs.py, with a detector's description and log."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from storage.datasets.detection import DetectionDataset
from student.core.aspects import Aspect
from student.core.files import parse, read_json
from student.core.runs import DESCRIPTION, RESULT, WEIGHTS, load_weights, read_finished
from student.core.settings import TrainingConfig
from student.detection.config import DetectorConfig
from student.detection.examples import DetectionAnswers
from student.detection.model import Detector, build_detector


@dataclass(frozen=True, kw_only=True)
class DetectorLog:
    """One epoch: mean training losses (aspects before their weight), speed, and mAP on the watched split where it was
    measured (0..1)."""

    epoch: int  # from 1
    loss: float
    detection: float
    box_aspects: float
    image_aspects: float
    lr: float
    watched_map: float | None
    watched_map50: float | None
    images_per_second: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class DetectorDescription:
    """Config and data of a run. `digest` covers image ids, boxes, labels and answers."""

    CONFIG: ClassVar[type[TrainingConfig]] = DetectorConfig
    TRAINS: ClassVar[str] = "detector"

    config: DetectorConfig
    dataset: str
    class_names: tuple[str, ...]
    box_aspects: tuple[Aspect, ...]
    image_aspects: tuple[Aspect, ...]
    teacher: str | None
    digest: str

    @classmethod
    def of(
        cls, config: DetectorConfig, dataset: DetectionDataset, teacher_answers: DetectionAnswers, digest: str
    ) -> DetectorDescription:
        box_aspects, image_aspects = teacher_answers.aspects(config)
        return cls(
            config=config,
            dataset=dataset.name,
            class_names=tuple(dataset.class_names),
            box_aspects=box_aspects,
            image_aspects=image_aspects,
            teacher=teacher_answers.used_by(config).teacher,
            digest=digest,
        )

    @property
    def trained_on(self) -> tuple[object, ...]:
        return self.digest, self.box_aspects, self.image_aspects, self.teacher

    def build(self) -> Detector:
        """A new detector, as training starts with it."""
        return build_detector(
            self.config,
            classes=len(self.class_names),
            box_aspects=len(self.box_aspects),
            image_aspects=len(self.image_aspects),
        )

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"config": self.config.to_dict()}


@dataclass(frozen=True, kw_only=True)
class TrainedDetector:
    """A finished run; the last epoch's weights are kept. `weights` is their digest, None where release 0.1.0
    trained."""

    run_dir: Path
    description: DetectorDescription
    epochs: tuple[DetectorLog, ...]
    train_images: int
    dropped_images: int
    weights: str | None = None

    def load(self) -> Detector:
        """The detector, in evaluation mode on the CPU."""
        config = self.description.config.replace(pretrained=False)
        detector = dataclasses.replace(self.description, config=config).build()
        return load_weights(detector, self.run_dir / WEIGHTS, self.weights)


def load_detector_run(run_dir: Path) -> TrainedDetector:
    """The finished run in `run_dir`. Raises RunInvalid where there is none or it has not finished."""
    description, result = read_finished(run_dir, DetectorDescription)
    return parse(TrainedDetector, {**result, "run_dir": run_dir, "description": description}, run_dir / RESULT)


def is_detector_run(run_dir: Path) -> bool:
    """Whether the folder holds a detector's run and not a classifier's. Raises as `read_json`, but for a folder without
    a run."""
    try:
        config = read_json(run_dir / DESCRIPTION).get("config")
    except FileNotFoundError:
        return False
    return isinstance(config, dict) and "detector" in config
