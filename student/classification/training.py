"""Train one student: from images, labels and answers to the weights that are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from timm.optim import param_groups_layer_decay  # type: ignore[attr-defined]
from torch import Tensor, nn

from storage.datasets.base import ImageDataset
from student.classification.augment import Augmenter, mix, normalize_pixels
from student.classification.calibration import VALIDATION, write_calibration
from student.classification.class_profile import learned_profile, write_class_profile
from student.classification.config import StudentConfig
from student.classification.examples import (
    TeacherAnswers,
    digest_of,
    fit_to_answers,
    join_examples,
    training_records,
)
from student.classification.head_start import MOST_IMAGES, refused_start, start_head
from student.classification.images import evaluation_cache, evaluation_views, training_cache
from student.classification.kd_teacher import require_same_labels, require_seen_labels
from student.classification.label_features import label_features
from student.classification.model import Logits, Student
from student.classification.probe import ProbeTask
from student.classification.runs import EpochLog, RunDescription, TrainedStudent, load_run
from student.classification.task import ClassifierTask, Job, TrainingImages, kept_epoch
from student.classification.trainable import require_trainable
from student.core.batch_norm import freeze_batch_norm
from student.core.devices import launch, on_all_devices, prepare_device, relay, require_devices
from student.core.loop import finish, run_epochs
from student.core.progress import note
from student.core.runs import is_begun, read_description, training_folder
from student.core.schedule import CROPS, derive_seed, parameter_groups, undecayed
from student.core.settings import TrainingConfig
from student.core.training_task import Part


def train(
    config: StudentConfig,
    dataset: ImageDataset,
    teacher_answers: TeacherAnswers,
    run_dir: Path,
    *,
    progress: bool = True,
    on_epoch: Callable[[EpochLog], None] | None = None,
    images: TrainingImages | None = None,
) -> TrainedStudent:
    """Train on the dataset's split `train`, and on `unlabelled` if there is one, in `run_dir`.

    Where `teacher_answers` is about classes alone, method `recommended` is `recommended-classes`, and the run says so.
    Resumes an interrupted run; a finished one returns at once. `images` are the training images where they are decoded
    already. Raises ValueErrors of one line: settings that cannot work here, images or answers that are missing, a run
    folder of another run, a loss that is not finite. Raises RunBusy where another process trains in `run_dir`,
    StorageUnavailable where it cannot be used.
    """
    config = on_all_devices(config)
    require_devices(config)
    config = fit_to_answers(config, teacher_answers)
    records = training_records(dataset)
    if is_begun(run_dir):  # with its own network
        config = config.resumed_as(read_description(run_dir, RunDescription).config)
    else:
        require_same_labels(config)
    description = RunDescription.of(config, dataset, teacher_answers, digest_of(dataset, records, teacher_answers))
    with ExitStack() as stack:
        if stack.enter_context(training_folder(run_dir, description)):
            return load_run(run_dir)
        require_trainable(config)
        if images is None:
            images = _open_images(stack, config, dataset, run_dir, progress)
        features = None
        if config.starts_pretrained:
            features = partial(label_features, config, images, progress=progress)
            if config.starts_by_probe and config.devices > 1 and len(images.shown) <= MOST_IMAGES:
                features()  # here, for all devices
        examples = join_examples(config, dataset, images.shown.records, teacher_answers, features)
        require_seen_labels(config, examples.seen_labels)
        require_trainable(config, len(examples.train_indices))
        if len(examples.val_indices) == 0 and (config.keep == "best" or config.patience is not None):
            note("no labelled image is left for validation: the last epoch is kept, not the best one")
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


def _open_images(
    stack: ExitStack, config: StudentConfig, dataset: ImageDataset, folder: Path, progress: bool
) -> TrainingImages:
    """The training images, until the stack ends."""
    records = training_records(dataset)
    if not config.freeze:
        return TrainingImages(
            shown=stack.enter_context(training_cache(config, dataset, records, folder, progress=progress))
        )
    shown = stack.enter_context(evaluation_cache(config, dataset, records, folder, progress=progress))
    if config.views == 1:
        return TrainingImages(shown=shown)
    augmented = stack.enter_context(training_cache(config, dataset, records, folder, progress=progress))
    return TrainingImages(shown=shown, augmented=augmented)


def train_on_rank(fabric: Fabric, job: Job) -> None:
    """All epochs on one device."""
    config, examples = job.description.config, job.examples
    prepare_device(fabric, config)
    task = ProbeTask(fabric, job) if config.freeze else ClassificationTask(fabric, job)
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
        shown = job.images.shown
        used, val_images = len(examples.train_indices.unique()), len(examples.val_indices)
        finish(
            job.run_dir,
            logs,
            kept,
            best_epoch=kept_epoch(config, logs),
            train_images=used,
            val_images=val_images,
            dropped_images=examples.left_out + len(shown.dropped),
            seen_labels=examples.seen_labels,
        )


def describe_outputs(task: ClassifierTask, job: Job, kept: str | None) -> None:
    """Write what predictions are read by: the class profile, where the student has aspects, and the calibration of the
    weights whose digest is `kept`, where there are validation images."""
    description, examples = job.description, job.examples
    if examples.aspects:
        method, keys = description.config.objective, description.aspect_keys
        write_class_profile(job.run_dir, learned_profile(method, examples, description.class_names, keys))
    if len(examples.val_indices):
        config = description.config
        if config.keep == "best" or config.ema is not None or config.freeze:  # else the student has them
            task.load_kept(kept)
        batches = list(task.validation_logits())
        logits, labels = (torch.cat(parts).cpu() for parts in zip(*batches, strict=True))
        if logits.isfinite().all():  # evaluation's running statistics can overflow where no loss does
            write_calibration(job.run_dir, logits, labels, dataset=description.dataset, split=VALIDATION)


class ClassificationTask(ClassifierTask):
    """A student on one device, all of it trained."""

    def __init__(self, fabric: Fabric, job: Job) -> None:
        super().__init__(fabric, job)
        self.stored = job.images.shown  # on the CPU
        self.images = self.stored.on(fabric.device)
        self.augment = Augmenter(self.config, self.student.mean, self.student.std)
        if self.objective.method.consistency_terms:
            strong = self.config.replace(policy="rand")
            self.augment_strongly = Augmenter(strong, self.student.mean, self.student.std)
        self.crops = torch.Generator()
        wanted = self.config.starts_by_probe
        self.refused = refused_start(self.config, self.student, len(self.stored)) if wanted else None
        self.starts_by_probe = wanted and self.refused is None

    def wrapped(self) -> nn.Module:
        if self.config.compile:
            self.student.compile()
        return self.student

    def parameter_groups(self, config: TrainingConfig) -> list[dict[str, Any]]:
        return layer_groups(self.config, self.student)

    def start(self) -> None:
        if self.starts_by_probe:
            features_ND = label_features(self.config, self.job.images, progress=self.job.progress)
            start_head(self, torch.from_numpy(features_ND))
        elif self.refused is not None and self.fabric.is_global_zero:
            note(f"{self.refused}; probe_epochs is skipped, all layers are trained at once")

    def begin(self, epoch: int) -> None:
        # Every device draws for the whole batch and uses its part, so that their number changes no crop.
        self.crops.manual_seed(derive_seed(self.config.seed, epoch, CROPS, 0))
        if self.starts_by_probe:  # else the last layers would be given other features than they have learned from
            freeze_batch_norm(self.student.network)

    def load(self, batches: Iterable[Tensor]) -> Iterator[list[Tensor]]:
        return self.images.batches(batch.tolist() for batch in batches)

    def step(self, model: nn.Module, part: Part, epoch: int) -> dict[str, Tensor]:
        images, shown, rows = part.indices, part.loaded, part.rows
        augmented = self.augment(shown, self.crops, self.fabric.device, rows)
        pixels, share, partners = mix(self.config, augmented, self.crops)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        logits = model(pixels)
        with torch.no_grad(), self.fabric.autocast():
            larger_logits = None if self.larger is None else self.larger(pixels).float()
        strong_logits = None
        if self.objective.method.consistency_terms:
            strong_pixels = self.augment_strongly(shown, self.crops, self.fabric.device, rows)
            strong_logits = model(strong_pixels)
        losses = self.objective(logits, images, larger_logits, strong_logits)
        if share < 1:
            # All losses are linear in their targets but for what no weight changes, so that mixed losses have the
            # gradient of mixed targets.
            other = self.objective(logits, images[partners], larger_logits)
            losses = {name: share * losses[name] + (1 - share) * other[name] for name in losses}
        return losses

    def class_logits(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        student = self.student
        for shown in self.stored.batches(batch.tolist() for batch in batches):
            views = evaluation_views(self.config, shown)
            pixels = normalize_pixels(views.to(self.fabric.device), student.mean, student.std)
            with self.fabric.autocast():
                logits: Logits = student(pixels.contiguous(memory_format=torch.channels_last))
            yield logits.class_logits_BC.float()


def layer_groups(config: StudentConfig, student: Student) -> list[dict[str, Any]]:
    """The parameters of `student` for the optimizer; with `layer_decay` a group for each of the backbone's layers,
    whose `lr_scale` is its share of the learning rate, as timm has them. What is no part of the backbone learns at the
    full rate."""
    if config.layer_decay is None:
        return parameter_groups(config, student)
    groups: list[dict[str, Any]] = param_groups_layer_decay(
        student.network,
        config.weight_decay,
        no_weight_decay_list=undecayed(config, student.network),
        weight_decay_exclude_1d=config.optimizer == "adamw" or config.selective_decay,
        layer_decay=config.layer_decay,
    )
    heads = nn.ModuleList([student.inner_heads])
    if student.aspect_head is not None:
        heads.append(student.aspect_head)
    if next(heads.parameters(), None) is not None:
        groups += [{**group, "lr_scale": 1.0} for group in parameter_groups(config, heads)]
    return groups
