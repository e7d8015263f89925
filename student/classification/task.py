"""Shared by all ways of training a classifier: its job, its losses, and its validation."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional

from student.classification.config import StudentConfig
from student.classification.examples import Examples
from student.classification.features import SharedFeatures
from student.classification.groups import GroupBalance
from student.classification.kd_teacher import KDTeacher
from student.classification.model import Student, build_student
from student.classification.objective import LOSSES, Objective
from student.classification.runs import EpochLog, RunDescription
from student.core.backbones import to_channels_last
from student.core.images import Images
from student.core.runs import WEIGHTS, load_weights
from student.core.training_task import TrainingTask

VALIDATION_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class TrainingImages:
    """The training images of a run.

    `shown` is a training cache; with `freeze` it is an evaluation cache, and `augmented` a training cache of the same
    images where there are augmented views. `features` keeps what is computed of them.
    """

    shown: Images
    augmented: Images | None = None
    features: SharedFeatures = dataclasses.field(default_factory=SharedFeatures)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is sent to every rank; small, because the pixels stay in the cache's file."""

    description: RunDescription
    examples: Examples
    images: TrainingImages
    run_dir: Path
    progress: bool
    on_epoch: Callable[[EpochLog], None] | None


class ClassifierTask(TrainingTask[EpochLog]):
    """A student and its objective on one device."""

    losses = LOSSES
    log = EpochLog

    def __init__(self, fabric: Fabric, job: Job) -> None:
        self.job, self.fabric = job, fabric
        self.config, self.examples = job.description.config, job.examples
        classes, aspects = len(job.description.class_names), len(self.examples.aspects)
        self.student: Student = to_channels_last(build_student(self.config, classes=classes, aspects=aspects))
        self.objective = Objective(
            method=self.config.objective,
            examples=self.examples,
            class_weights_C=balanced_weights(self.examples, classes) if self.config.class_weights else None,
            balance=self._balance(),
        )
        self.larger = KDTeacher.load(job.description, self.student, fabric.device)
        super().__init__(self.trained())
        if self.objective.balance is not None:
            self.state = self.objective.balance.state

    def _balance(self) -> GroupBalance | None:
        groups_NG = self.examples.groups
        return None if groups_NG is None else GroupBalance(groups_NG, self.fabric.device)

    def after_update(self) -> None:
        if self.objective.balance is not None:
            self.objective.balance.update(self._over_devices)

    def _over_devices(self, values: Tensor) -> Tensor:
        total = self.fabric.all_reduce(values, reduce_op="sum")
        assert isinstance(total, Tensor)
        return total

    def sampling_weights(self, indices_N: Tensor) -> Tensor | None:
        return class_sampling_weights(self.examples.labels_N[indices_N]) if self.config.sampler == "balanced" else None

    def trained(self) -> nn.Module:
        """The part of `student` that learns."""
        return self.student

    @abstractmethod
    def class_logits(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """Class logits [B, C], float32, of batches of validation images by their indices [B]."""

    def measure(self, epoch: int) -> dict[str, float | None]:
        """Top-1 (0..1) and cross-entropy on the validation images; None where there are none."""
        count = len(self.examples.val_indices)
        if count == 0:
            return {"val_top1": None, "val_loss": None}
        correct, loss = 0.0, 0.0
        for logits, labels in self.validation_logits():
            correct += (logits.argmax(dim=1) == labels).sum().item()
            loss += functional.cross_entropy(logits, labels, reduction="sum").item()
        return {"val_top1": correct / count, "val_loss": loss / count}

    @torch.no_grad()
    def validation_logits(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Class logits [B, C] and labels [B] of the validation images, a batch at a time."""
        self.network.eval()
        chunks = self.examples.val_indices.split(VALIDATION_BATCH)
        for chunk, logits in zip(chunks, self.class_logits(chunks), strict=True):
            yield logits, self.examples.labels_N[chunk].to(self.fabric.device)

    def load_kept(self, digest: str | None) -> None:
        """Load the weights that the run has kept: those of another epoch, or an average, than the last update's."""
        load_weights(self.student, self.job.run_dir / WEIGHTS, digest)

    def keeps(self, logs: list[EpochLog]) -> bool:
        return kept_epoch(self.config, logs) == logs[-1].epoch

    def stops(self, logs: list[EpochLog]) -> bool:
        return has_stopped(self.config, logs)

    def describe(self, log: EpochLog) -> str:
        val = "" if log.val_top1 is None else f", val top-1 {100 * log.val_top1:.1f} %"
        return f"loss {log.loss:.3f}{val}"


def kept_epoch(config: StudentConfig, logs: list[EpochLog]) -> int:
    """The epoch whose weights are kept, as far as `logs` go: the last of all, or the one with the highest validation
    top-1, the later of equals. With few validation images the best epoch is chosen by chance, and with a learning rate
    that falls to the end the last epoch is a good one, so most recipes keep the last."""
    if config.keep == "last":
        return logs[-1].epoch if has_stopped(config, logs) else config.epochs
    return max(logs, key=lambda log: (log.val_top1 or 0.0, log.epoch)).epoch


def has_stopped(config: StudentConfig, logs: list[EpochLog]) -> bool:
    """Whether the last `patience` epochs were no better on the validation images than the best one before them."""
    measured = [log.val_top1 for log in logs if log.val_top1 is not None]
    if config.patience is None or not measured:
        return False
    return len(measured) - 1 - measured.index(max(measured)) >= config.patience


def balanced_weights(examples: Examples, classes: int) -> Tensor:
    """A weight for each class [C]: images / (classes * images of the class), over the training images with a label."""
    labels = examples.labels_N[examples.train_indices]
    counts = torch.bincount(labels[labels >= 0], minlength=classes)
    return counts.sum() / (classes * counts.clamp(min=1))


def class_sampling_weights(labels_N: Tensor) -> Tensor:
    """Weights [N] with which every class is drawn equally often among the images with a label. Images without one (-1)
    have weight 1, and so the share of an epoch that they have in uniform sampling."""
    labelled = labels_N >= 0
    counts = torch.bincount(labels_N[labelled], minlength=1)
    per_class = labelled.sum() / (counts > 0).sum().clamp(min=1)
    return torch.where(labelled, per_class / counts.clamp(min=1)[labels_N.clamp(min=0)], 1.0)
