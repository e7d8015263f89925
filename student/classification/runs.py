"""A classifier's run folder: the files of student/core/runs.py, with a classifier's description and log."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from storage.datasets.base import ImageDataset
from student.classification.config import StudentConfig
from student.classification.examples import TeacherAnswers, aspects_of
from student.classification.model import Student, build_student
from student.core.aspects import Aspect
from student.core.files import (
    digest_of_file,
    parse,
    unreadable,
)
from student.core.pretrained import digest_of_weights_file
from student.core.runs import RESULT, WEIGHTS, load_weights, read_finished
from student.core.settings import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class EpochLog:
    """One epoch: mean training losses, speed, and top-1 (0..1) on the validation images where there are any."""

    epoch: int  # from 1
    loss: float
    classification: float
    aspects: float
    distillation: float
    inner: float
    lr: float
    val_top1: float | None
    val_loss: float | None
    images_per_second: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class RunDescription:
    """Config and data of a run. `digest` covers image ids, labels and answers, corrected ones where corrections are
    used, `network` the weights of the KD teacher, `weights` the file of weights that the backbone starts from.
    `corrections` says what is corrected; None in runs without corrections."""

    CONFIG: ClassVar[type[TrainingConfig]] = StudentConfig
    TRAINS: ClassVar[str] = "classifier"

    config: StudentConfig
    dataset: str
    class_names: tuple[str, ...]
    aspects: tuple[Aspect, ...]
    teacher: str | None
    digest: str
    network: str | None
    weights: str | None = None
    corrections: str | None = None

    @classmethod
    def of(
        cls, config: StudentConfig, dataset: ImageDataset, teacher_answers: TeacherAnswers, digest: str
    ) -> RunDescription:
        method = config.objective
        return cls(
            config=config,
            dataset=dataset.name,
            class_names=tuple(dataset.class_names),
            aspects=aspects_of(config, teacher_answers),
            teacher=teacher_answers.teacher if config.uses_answers else None,
            digest=digest,
            network=digest_of_weights(Path(config.network)) if method.network_terms and config.network else None,
            weights=digest_of_weights_file(config.weights) if config.weights is not None else None,
            corrections=teacher_answers.corrections,
        )

    @property
    def trained_on(self) -> tuple[object, ...]:
        return self.digest, self.aspects, self.teacher, self.network, self.weights

    @property
    def aspect_keys(self) -> tuple[str, ...]:
        return tuple(aspect.key for aspect in self.aspects)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"config": self.config.to_dict()}


@dataclass(frozen=True, kw_only=True)
class TrainedStudent:
    """A finished run. `best_epoch` is the one whose weights were kept, `val_top1` (0..1) is its own; None where nothing
    was cut off for validation. `weights` is their digest, None where release 0.1.0 trained, and `seen_labels` that of
    the labels that training and validation used, None in older runs. `dropped_images` were damaged or left out."""

    run_dir: Path
    description: RunDescription
    epochs: tuple[EpochLog, ...]
    best_epoch: int
    train_images: int
    val_images: int
    dropped_images: int
    weights: str | None = None
    seen_labels: str | None = None

    @property
    def val_top1(self) -> float | None:
        return self.epochs[self.best_epoch - 1].val_top1

    def load(self) -> Student:
        """The student with the weights that were kept, in evaluation mode on the CPU."""
        config = self.description.config.untrained()
        classes, aspects = len(self.description.class_names), len(self.description.aspects)
        student = build_student(config, classes=classes, aspects=aspects)
        return load_weights(student, self.run_dir / WEIGHTS, self.weights)


def load_run(run_dir: Path) -> TrainedStudent:
    """The finished run in `run_dir`. Raises as `read_finished`."""
    description, result = read_finished(run_dir, RunDescription)
    run = parse(TrainedStudent, {**result, "run_dir": run_dir, "description": description}, run_dir / RESULT)
    if not 1 <= run.best_epoch <= len(run.epochs):
        raise unreadable(run_dir / RESULT, f"best_epoch is {run.best_epoch}, the log has {len(run.epochs)}")
    return run


def digest_of_weights(run_dir: Path) -> str:
    """Digest of the weights of a finished run. Raises RunInvalid where there is none."""
    load_run(run_dir)
    return digest_of_file(run_dir / WEIGHTS)[:16]
