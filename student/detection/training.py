"""Train one detector: from photos, boxes and answers to weights."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from storage.allocator import keep_freed_memory
from storage.datasets.base import select
from storage.datasets.detection import DetectionDataset
from student.detection.augment import BoxAugmenter
from student.detection.config import DetectorConfig
from student.detection.evaluate import find_boxes, score_boxes
from student.detection.examples import (
    DetectionExamples,
    DetectionKnowledge,
    detection_cache,
    detection_digest,
    join_detection_examples,
)
from student.detection.model import LOSSES, Detector, step_losses
from student.detection.runs import DetectorDescription, DetectorLog, TrainedDetector, load_detector_run
from student.images import ImageCache
from student.model import optimized
from student.progress import ImageBar
from student.runs import is_finished, open_run, read_checkpoint, write_checkpoint, write_json, write_weights
from student.schedule import CROPS, NETWORK, batches, build_optimizer, build_scheduler, stream
from student.training import TrainingDiverged, launch, relay, require_devices, write_curves

TRAIN = "train"


@dataclass(frozen=True, kw_only=True)
class DetectorJob:
    """What every rank needs; small, because the pixels stay in the caches' files."""

    description: DetectorDescription
    examples: DetectionExamples
    photos: ImageCache
    dataset: DetectionDataset
    watched: ImageCache | None
    run_dir: Path
    progress: bool
    on_epoch: Callable[[DetectorLog], None] | None


class Batch:
    """Photos and targets of one step. No collection, so that Fabric does not look into it: it would round the corners
    of boxes to the precision of the network."""

    def __init__(self, views: Sequence[tuple[Tensor, dict[str, Tensor]]], device: torch.device) -> None:
        self.photos = [photo.to(device) for photo, _ in views]
        self.targets = [{name: part.to(device) for name, part in target.items()} for _, target in views]


class Step(nn.Module):
    """From a batch to LOSSES: what Fabric wraps."""

    def __init__(self, detector: Detector, config: DetectorConfig) -> None:
        super().__init__()
        self.detector = detector
        self.config = config

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        losses = self.detector(batch.photos, batch.targets)
        return step_losses(self.config, losses)


def train_detector(
    config: DetectorConfig,
    dataset: DetectionDataset,
    knowledge: DetectionKnowledge,
    run_dir: Path,
    *,
    progress: bool = True,
    on_epoch: Callable[[DetectorLog], None] | None = None,
    photos: ImageCache | None = None,
) -> TrainedDetector:
    """Train on the dataset's split `train` in `run_dir`; goes on from what is there, a finished run returns at once.

    `photos` are the training photos where somebody has decoded them already. Raises ValueErrors of one line, as
    `student.training.train` does.
    """
    require_devices(config)
    records = select(dataset, (TRAIN,))
    used = knowledge.used_by(config)
    description = DetectorDescription.of(config, dataset, used, detection_digest(dataset, records, used))
    open_run(run_dir, description)
    if is_finished(run_dir):
        return load_detector_run(run_dir)
    with ExitStack() as stack:
        decoded = detection_cache(config, dataset, records, run_dir / "train-pixels.uint8", progress=progress)
        photos = stack.enter_context(decoded if photos is None else nullcontext(photos))
        watched = photos if config.watch == TRAIN else None
        if config.watch not in (None, TRAIN):
            path, shown = run_dir / "watch-pixels.uint8", select(dataset, (config.watch,))
            watched = stack.enter_context(detection_cache(config, dataset, shown, path, progress=progress))
        job = DetectorJob(
            description=description,
            examples=join_detection_examples(config, dataset, photos, used),
            photos=photos,
            dataset=dataset,
            watched=watched,
            run_dir=run_dir,
            progress=progress,
            on_epoch=stack.enter_context(relay(on_epoch, config)),
        )
        launch(config, partial(train_on_rank, job=job))
    return load_detector_run(run_dir)


def train_on_rank(fabric: Fabric, job: DetectorJob) -> None:
    """All epochs on one device. Every epoch draws its random numbers from the seed and its own number alone, so going
    on after a checkpoint gives the same weights as never having stopped."""
    config, examples, run_dir = job.description.config, job.examples, job.run_dir
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if fabric.device.type == "cpu":
        keep_freed_memory()
    detector = optimized(job.description.build())
    optimizer = build_optimizer(config, detector)
    steps = max(1, len(examples.train_indices) // config.batch_size)
    scheduler = build_scheduler(config, optimizer, steps)
    augment = BoxAugmenter(config)
    logs: list[DetectorLog] = []
    if (checkpoint := read_checkpoint(run_dir)) is not None:
        detector.load_state_dict(checkpoint["student"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        logs = [DetectorLog(**log) for log in checkpoint["epochs"]]
    model, fabric_optimizer = fabric.setup(Step(detector, config), optimizer)
    writer = SummaryWriter(str(run_dir / "tensorboard"), purge_step=len(logs) + 1) if fabric.is_global_zero else None
    images = steps * min(config.batch_size, len(examples.train_indices))
    bar = ImageBar(
        "training", images * config.epochs, done=images * len(logs), shown=job.progress and fabric.is_global_zero
    )
    with bar:
        for epoch in range(len(logs) + 1, config.epochs + 1):
            started = time.perf_counter()
            model.train()
            torch.manual_seed(stream(config.seed, epoch, NETWORK, fabric.global_rank))
            sums = torch.zeros(len(LOSSES), device=fabric.device)
            for step, batch in enumerate(batches(config, examples.train_indices, epoch, steps)):
                mine = batch[fabric.global_rank :: fabric.world_size].tolist()
                scheduler.step_update((epoch - 1) * steps + step)
                views = [
                    augment(job.photos.image(one), examples.target(one), stream(config.seed, epoch, CROPS, one))
                    for one in mine
                ]
                losses = model(Batch(views, fabric.device))
                fabric.backward(losses["loss"])
                if config.clip_norm is not None:
                    fabric.clip_gradients(model, fabric_optimizer, max_norm=config.clip_norm)
                fabric_optimizer.step()
                fabric_optimizer.zero_grad()
                sums += len(mine) * torch.stack([losses[name].detach() for name in LOSSES])
                bar.advance(len(batch))
            total = fabric.all_reduce(sums, reduce_op="sum")
            assert isinstance(total, Tensor)
            means = dict(zip(LOSSES, (total / images).tolist(), strict=True))
            if not np.isfinite(means["loss"]):
                raise TrainingDiverged(
                    f"the loss became {means['loss']} in epoch {epoch} of {run_dir}; lower lr ({config.lr})"
                )
            seconds = time.perf_counter() - started
            if writer is not None:
                watched_map, watched_map50 = watch(job, detector, epoch)
                log = DetectorLog(
                    epoch=epoch,
                    **means,
                    lr=optimizer.param_groups[0]["lr"],
                    watched_map=watched_map,
                    watched_map50=watched_map50,
                    images_per_second=images / seconds,
                    seconds=seconds,
                )
                logs.append(log)
                if epoch == config.epochs:
                    write_weights(run_dir, detector.state_dict())
                elif epoch % config.checkpoint_every == 0:
                    state = {"student": detector.state_dict(), "optimizer": optimizer.state_dict()}
                    write_checkpoint(run_dir, state | {"epochs": [dataclasses.asdict(log) for log in logs]})
                write_curves(writer, log)
                bar.describe(describe_epoch(log, config.epochs))
                if job.on_epoch is not None:
                    job.on_epoch(log)
            fabric.barrier()
    if writer is not None:
        writer.close()
        finish(job, logs)


def watch(job: DetectorJob, detector: Detector, epoch: int) -> tuple[float, float] | tuple[None, None]:
    """mAP and mAP50 on the watched split; Nones where there is none, or not in this epoch."""
    config = job.description.config
    if job.watched is None or (epoch % config.watch_every and epoch != config.epochs):
        return None, None
    detector.eval()
    scores = score_boxes(job.dataset, job.watched, find_boxes(detector, job.watched, config.accelerator))
    detector.train()
    return scores.map, scores.map50


def finish(job: DetectorJob, logs: list[DetectorLog]) -> None:
    """Write the result, which makes the run a finished one, and drop the checkpoint that nobody needs any more."""
    result = {
        "epochs": [dataclasses.asdict(log) for log in logs],
        "train_images": len(job.examples.train_indices),
        "dropped_images": len(job.photos.dropped),
    }
    write_json(job.run_dir / "result.json", result)
    (job.run_dir / "checkpoint.pt").unlink(missing_ok=True)


def describe_epoch(log: DetectorLog, epochs: int) -> str:
    watched = "" if log.watched_map50 is None else f", mAP50 {100 * log.watched_map50:.1f} %"
    return f"epoch {log.epoch}/{epochs}: loss {log.loss:.3f}{watched}"
