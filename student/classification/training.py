"""Train one student: from images, labels and answers to the weights that are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from storage.datasets.base import ImageDataset
from student.classification.augment import Augmenter, mix, normalize_pixels
from student.classification.calibration import VALIDATION, write_calibration
from student.classification.class_profile import learned_profile, write_class_profile
from student.classification.config import StudentConfig
from student.classification.examples import (
    Examples,
    TeacherAnswers,
    digest_of,
    fit_to_answers,
    join_examples,
    training_records,
)
from student.classification.images import training_cache, view_for_evaluation
from student.classification.kd_teacher import KDTeacher, require_same_labels
from student.classification.model import build_student
from student.classification.objective import LOSSES, Objective
from student.classification.runs import EpochLog, RunDescription, TrainedStudent, load_run
from student.classification.trainable import require_trainable
from student.core.backbones import to_channels_last
from student.core.cache import ImageCache
from student.core.devices import launch, prepare_device, relay, require_devices
from student.core.loop import TrainingTask, finish, run_epochs
from student.core.runs import WEIGHTS, is_begun, load_weights, training_folder
from student.core.schedule import CROPS, derive_seed

VALIDATION_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is sent to every rank; small, because the pixels stay in the cache's file."""

    description: RunDescription
    examples: Examples
    images: ImageCache
    run_dir: Path
    progress: bool
    on_epoch: Callable[[EpochLog], None] | None


def train(
    config: StudentConfig,
    dataset: ImageDataset,
    teacher_answers: TeacherAnswers,
    run_dir: Path,
    *,
    progress: bool = True,
    on_epoch: Callable[[EpochLog], None] | None = None,
    images: ImageCache | None = None,
) -> TrainedStudent:
    """Train on the dataset's split `train`, and on `unlabelled` if there is one, in `run_dir`.

    Where `teacher_answers` is about classes alone, method `recommended` is `recommended-classes`, and the run says so.
    Resumes an interrupted run; a finished one returns at once.
    `images` are the training images where they are decoded already. Raises ValueErrors of one line: settings
    that cannot work here, images or answers that are missing, a run folder of another run, a loss that is no number
    any more. Raises RunBusy where another process trains in `run_dir`, StorageUnavailable where it cannot be used.
    """
    require_devices(config)
    config = fit_to_answers(config, teacher_answers)
    records = training_records(dataset)
    if not is_begun(run_dir):  # a run that has begun resumes with its own network
        require_same_labels(config)
    description = RunDescription.of(config, dataset, teacher_answers, digest_of(dataset, records, teacher_answers))
    with ExitStack() as stack:
        if stack.enter_context(training_folder(run_dir, description)):
            return load_run(run_dir)
        require_trainable(config)
        if images is None:
            images = stack.enter_context(training_cache(config, dataset, records, run_dir, progress=progress))
        examples = join_examples(config, dataset, images.records, teacher_answers)
        require_trainable(config, len(examples.train_indices))
        job = Job(
            description=description,
            examples=examples,
            images=images,
            run_dir=run_dir,
            progress=progress,
            on_epoch=stack.enter_context(relay(on_epoch, config)),
        )
        launch(config, partial(train_on_rank, job=job))
    return load_run(run_dir)


def train_on_rank(fabric: Fabric, job: Job) -> None:
    """All epochs on one device."""
    config, examples = job.description.config, job.examples
    prepare_device(fabric, config)
    task = ClassificationTask(fabric, job)
    logs, kept = run_epochs(
        fabric,
        task,
        config,
        examples.train_indices,
        job.run_dir,
        progress=job.progress,
        on_epoch=job.on_epoch,
    )
    if fabric.is_global_zero:
        describe_outputs(task, job, kept)
        used, val_images = len(examples.train_indices.unique()), len(examples.val_indices)
        finish(
            job.run_dir,
            logs,
            kept,
            best_epoch=kept_epoch(config, logs),
            train_images=used,
            val_images=val_images,
            dropped_images=len(job.images) - used - val_images + len(job.images.dropped),
        )


def describe_outputs(task: ClassificationTask, job: Job, kept: str | None) -> None:
    """Write what predictions are read by: the class profile, where the student has aspects, and the calibration of the
    weights whose digest is `kept`, where there are validation images."""
    description, examples = job.description, job.examples
    if examples.aspects:
        method, keys = description.config.objective, description.aspect_keys
        write_class_profile(job.run_dir, learned_profile(method, examples, description.class_names, keys))
    if len(examples.val_indices):
        if description.config.keep == "best":  # else the student has them
            load_weights(task.student, job.run_dir / WEIGHTS, kept)
        batches = list(task.validation_logits())
        logits, labels = (torch.cat(parts).cpu() for parts in zip(*batches, strict=True))
        if logits.isfinite().all():  # evaluation's running statistics can overflow where no loss does
            write_calibration(job.run_dir, logits, labels, dataset=description.dataset, split=VALIDATION)


class ClassificationTask(TrainingTask[EpochLog]):
    """A student and its objective on one device."""

    losses = LOSSES
    log = EpochLog

    def __init__(self, fabric: Fabric, job: Job) -> None:
        self.config, self.examples = job.description.config, job.examples
        self.student = to_channels_last(
            build_student(self.config, classes=len(job.description.class_names), aspects=len(self.examples.aspects))
        )
        super().__init__(self.student)
        self.fabric = fabric
        self.objective = Objective(method=self.config.objective, examples=self.examples)
        self.larger = KDTeacher.load(job.description, self.student, fabric.device)
        self.stored = job.images  # on the CPU
        self.images = job.images.on(fabric.device)
        self.augment = Augmenter(self.config, self.student.mean, self.student.std)
        self.crops = torch.Generator()

    def begin(self, epoch: int, rank: int) -> None:
        self.crops.manual_seed(derive_seed(self.config.seed, epoch, CROPS, rank))

    def step(self, model: nn.Module, images: Tensor, epoch: int) -> dict[str, Tensor]:
        shown = [self.images.image(index) for index in images.tolist()]
        pixels, share, partners = mix(self.config, self.augment(shown, self.crops, self.fabric.device), self.crops)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        logits = model(pixels)
        with torch.no_grad(), self.fabric.autocast():
            larger_logits = None if self.larger is None else self.larger(pixels).float()
        losses = self.objective(logits, images, larger_logits)
        if share < 1:
            # All losses are linear in their targets but for what no weight changes, so that mixed losses have the
            # gradient of mixed targets.
            other = self.objective(logits, images[partners], larger_logits)
            losses = {name: share * losses[name] + (1 - share) * other[name] for name in losses}
        return losses

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
        student, device = self.student, self.fabric.device
        student.eval()
        for chunk in self.examples.val_indices.split(VALIDATION_BATCH):
            views = [_evaluation_view(self.config, self.stored.image(index)) for index in chunk.tolist()]
            pixels = normalize_pixels(torch.stack(views).to(device), student.mean, student.std)
            with self.fabric.autocast():
                logits = student(pixels.contiguous(memory_format=torch.channels_last)).class_logits_BC.float()
            yield logits, self.examples.labels_N[chunk].to(device)

    def keeps(self, logs: list[EpochLog]) -> bool:
        return kept_epoch(self.config, logs) == logs[-1].epoch

    def describe(self, log: EpochLog) -> str:
        val = "" if log.val_top1 is None else f", val top-1 {100 * log.val_top1:.1f} %"
        return f"loss {log.loss:.3f}{val}"


def kept_epoch(config: StudentConfig, logs: list[EpochLog]) -> int:
    """The epoch whose weights are kept, as far as `logs` go: the last of all, or the one with the highest validation
    top-1, the later of equals. Few validation images name the best epoch by chance, and a rate that falls to the end
    makes the last one good: so the last is what most recipes keep."""
    if config.keep == "last":
        return config.epochs
    return max(logs, key=lambda log: (log.val_top1 or 0.0, log.epoch)).epoch


def _evaluation_view(config: StudentConfig, image: Tensor) -> Tensor:
    """uint8 [3, H, W] from the training cache -> uint8 [size, size, 3]."""
    decoded = Image.fromarray(image.permute(1, 2, 0).numpy())
    view = view_for_evaluation(decoded, resize_size=config.shown_size, image_size=config.image_size)
    return torch.from_numpy(np.array(view))
