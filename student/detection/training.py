"""Train one detector: from images, boxes and answers to weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from storage.datasets.base import select
from storage.datasets.detection import DetectionDataset
from student.core.backbones import to_channels_last
from student.core.devices import launch, on_all_devices, prepare_device, relay, require_devices
from student.core.images import Images
from student.core.loop import finish, run_epochs
from student.core.runs import training_folder
from student.core.schedule import CROPS, derive_seed
from student.core.training_task import Part, TrainingTask
from student.detection.augment import BoxAugmenter
from student.detection.config import DetectorConfig
from student.detection.evaluate import find_boxes
from student.detection.examples import (
    DetectionAnswers,
    DetectionExamples,
    detection_cache,
    detection_digest,
    join_detection_examples,
)
from student.detection.model import LOSSES, Detector, step_losses
from student.detection.precision import score_boxes
from student.detection.runs import DetectorDescription, DetectorLog, TrainedDetector, load_detector_run

TRAIN = "train"


@dataclass(frozen=True, kw_only=True)
class DetectorJob:
    """What is sent to every rank; small, because the pixels stay in the caches' files."""

    description: DetectorDescription
    examples: DetectionExamples
    images: Images
    dataset: DetectionDataset
    watched: Images | None
    run_dir: Path
    progress: bool
    on_epoch: Callable[[DetectorLog], None] | None


class Batch:
    """Images and targets of one step. No collection, so that Fabric does not look into it: it would round the corners
    of boxes to the precision of the network."""

    def __init__(self, views: Sequence[tuple[Tensor, dict[str, Tensor]]], device: torch.device) -> None:
        self.images = [image.to(device) for image, _ in views]
        self.targets = [{name: part.to(device) for name, part in target.items()} for _, target in views]


class Step(nn.Module):
    """From a batch to LOSSES: what Fabric wraps."""

    def __init__(self, detector: Detector, config: DetectorConfig) -> None:
        super().__init__()
        self.detector = detector
        self.config = config

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        losses = self.detector(batch.images, batch.targets)
        return step_losses(self.config, losses)


def train_detector(
    config: DetectorConfig,
    dataset: DetectionDataset,
    teacher_answers: DetectionAnswers,
    run_dir: Path,
    *,
    progress: bool = True,
    on_epoch: Callable[[DetectorLog], None] | None = None,
    images: Images | None = None,
) -> TrainedDetector:
    """Train on the dataset's split `train` in `run_dir`; resumes an interrupted run; a finished one returns at once.

    `images` are the training images where they are decoded already. Raises ValueErrors of one line, as
    `train` of classifiers does.
    """
    config = on_all_devices(config)
    require_devices(config)
    records = select(dataset, (TRAIN,))
    used = teacher_answers.used_by(config)
    description = DetectorDescription.of(config, dataset, used, detection_digest(dataset, records, used))
    with ExitStack() as stack:
        if stack.enter_context(training_folder(run_dir, description)):
            return load_detector_run(run_dir)
        decoded = detection_cache(config, dataset, records, run_dir / "train-pixels.uint8", progress=progress)
        images = stack.enter_context(decoded if images is None else nullcontext(images))
        watched = images if config.watch == TRAIN else None
        if config.watch not in (None, TRAIN):
            path, shown = run_dir / "watch-pixels.uint8", select(dataset, (config.watch,))
            watched = stack.enter_context(detection_cache(config, dataset, shown, path, progress=progress))
        job = DetectorJob(
            description=description,
            examples=join_detection_examples(config, dataset, images, used),
            images=images,
            dataset=dataset,
            watched=watched,
            run_dir=run_dir,
            progress=progress,
            on_epoch=stack.enter_context(relay(on_epoch, config)),
        )
        launch(config, partial(train_on_rank, job=job))
    return load_detector_run(run_dir)


def train_on_rank(fabric: Fabric, job: DetectorJob) -> None:
    """All epochs on one device."""
    config, examples = job.description.config, job.examples
    prepare_device(fabric, config)
    logs, kept = run_epochs(
        fabric,
        DetectionTask(fabric, job),
        config,
        examples.train_indices,
        job.run_dir,
        progress=job.progress,
        on_epoch=job.on_epoch,
    )
    if fabric.is_global_zero:
        dropped = len(job.images.dropped)
        finish(job.run_dir, logs, kept, train_images=len(examples.train_indices), dropped_images=dropped)


class DetectionTask(TrainingTask[DetectorLog]):
    """A detector on one device."""

    losses = LOSSES
    log = DetectorLog

    def __init__(self, fabric: Fabric, job: DetectorJob) -> None:
        self.detector = to_channels_last(job.description.build())
        super().__init__(self.detector)
        self.device = fabric.device
        self.job = job
        self.config = job.description.config
        self.augment = BoxAugmenter(self.config)

    def wrapped(self) -> nn.Module:
        return Step(self.detector, self.config)

    def load(self, batches: Iterable[Tensor]) -> Iterator[list[Tensor]]:
        return self.job.images.batches(batch.tolist() for batch in batches)

    def step(self, model: nn.Module, part: Part, epoch: int) -> dict[str, Tensor]:
        views = [
            self.augment(image, self.job.examples.target(one), derive_seed(self.config.seed, epoch, CROPS, one))
            for one, image in zip(part.indices.tolist(), part.loaded, strict=True)
        ]
        losses: dict[str, Tensor] = model(Batch(views, self.device))
        return losses

    def measure(self, epoch: int) -> dict[str, float | None]:
        """mAP and mAP50 on the watched split; None where there is none, or not in this epoch."""
        config, watched = self.config, self.job.watched
        if watched is None or (epoch % config.watch_every and epoch != config.epochs):
            return {"watched_map": None, "watched_map50": None}
        self.detector.eval()
        scores = score_boxes(self.job.dataset, watched, find_boxes(self.detector, watched, config.accelerator))
        return {"watched_map": scores.map, "watched_map50": scores.map50}

    def keeps(self, logs: list[DetectorLog]) -> bool:
        return logs[-1].epoch == self.config.epochs

    def describe(self, log: DetectorLog) -> str:
        watched = "" if log.watched_map50 is None else f", mAP50 {100 * log.watched_map50:.1f} %"
        return f"loss {log.loss:.3f}{watched}"
