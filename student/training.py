"""Train one student: from photos, labels and answers to the weights that are kept."""

from __future__ import annotations

import dataclasses
import logging
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torch.utils.tensorboard import SummaryWriter

from storage.allocator import keep_freed_memory
from storage.datasets.base import ImageDataset
from student.augment import Augmenter, mix, normalize_pixels
from student.config import StudentConfig
from student.examples import Examples, Knowledge, digest_of, join_examples, training_records
from student.images import ImageCache, training_cache, view_for_evaluation
from student.model import Student, build_student, optimized
from student.network import LargerNetwork
from student.objective import LOSSES, Objective
from student.progress import ImageBar
from student.runs import (
    EpochLog,
    RunDescription,
    TrainedStudent,
    is_finished,
    load_run,
    open_run,
    read_checkpoint,
    write_checkpoint,
    write_json,
    write_weights,
)
from student.schedule import CROPS, NETWORK, batches, build_optimizer, build_scheduler, stream
from student.settings import ConfigInvalid, TrainingConfig

VALIDATION_BATCH = 256


class TrainingDiverged(ValueError):
    """The loss stopped being a number; the message says when and what to do."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every rank needs; small, because the pixels stay in the cache's file."""

    description: RunDescription
    examples: Examples
    photos: ImageCache
    run_dir: Path
    progress: bool
    on_epoch: Callable[[EpochLog], None] | None


def train(
    config: StudentConfig,
    dataset: ImageDataset,
    knowledge: Knowledge,
    run_dir: Path,
    *,
    progress: bool = True,
    on_epoch: Callable[[EpochLog], None] | None = None,
    photos: ImageCache | None = None,
) -> TrainedStudent:
    """Train on the dataset's split `train`, and on `unlabelled` if there is one, in `run_dir`.

    Goes on from what is there; a finished run returns at once.
    `photos` are the training photos where somebody has decoded them already. Raises ValueErrors of one line: settings
    that cannot work here, images or answers that are missing, a run folder of another run, a loss that is no number
    any more.
    """
    require_devices(config)
    records = training_records(dataset)
    description = RunDescription.of(config, dataset, knowledge, digest_of(dataset, records, knowledge))
    open_run(run_dir, description)
    if is_finished(run_dir):
        return load_run(run_dir)
    decoded = training_cache(config, dataset, records, run_dir, progress=progress)
    with decoded if photos is None else nullcontext(photos) as photos, relay(on_epoch, config) as on_epoch:
        examples = join_examples(config, dataset, photos.records, knowledge)
        job = Job(
            description=description,
            examples=examples,
            photos=photos,
            run_dir=run_dir,
            progress=progress,
            on_epoch=on_epoch,
        )
        launch(config, partial(train_on_rank, job=job))
    return load_run(run_dir)


def launch(config: TrainingConfig, work: Callable[[Fabric], None]) -> None:
    """Have every device of the config do its part of `work`; torch's generator is as before afterwards."""
    # Its notes about precision would break the progress bar.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    # Spawned, not relaunched from the command line: this may be a worker's process, whose command is not ours.
    strategy = "ddp_spawn" if config.devices > 1 else "auto"
    fabric = Fabric(
        accelerator=config.accelerator, devices=config.devices, strategy=strategy, precision=config.precision
    )
    with torch.random.fork_rng():
        fabric.launch(work)


def train_on_rank(fabric: Fabric, job: Job) -> None:
    """All epochs on one device. Every epoch draws its random numbers from the seed and its own number alone, so going
    on after a checkpoint needs no generator's state and gives the same weights as never having stopped."""
    config, examples, run_dir = job.description.config, job.examples, job.run_dir
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if fabric.device.type == "cpu":
        keep_freed_memory()
    student = build_student(config, classes=len(job.description.class_names), aspects=len(examples.aspects))
    student = optimized(student)
    objective = Objective(method=config.objective, examples=examples)
    network = LargerNetwork.load(job.description, student, fabric.device)
    photos = job.photos.on(fabric.device)
    optimizer = build_optimizer(config, student)
    steps = max(1, len(examples.train_indices) // config.batch_size)
    scheduler = build_scheduler(config, optimizer, steps)
    augment = Augmenter(config, student.mean, student.std)
    logs: list[EpochLog] = []
    if (checkpoint := read_checkpoint(run_dir)) is not None:
        student.load_state_dict(checkpoint["student"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        logs = [EpochLog(**log) for log in checkpoint["epochs"]]
    model, fabric_optimizer = fabric.setup(student, optimizer)
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
            crops = torch.Generator().manual_seed(stream(config.seed, epoch, CROPS, fabric.global_rank))
            sums = torch.zeros(len(LOSSES), device=fabric.device)
            for step, batch in enumerate(batches(config, examples.train_indices, epoch, steps)):
                mine = batch[fabric.global_rank :: fabric.world_size]
                scheduler.step_update((epoch - 1) * steps + step)
                pixels = augment([photos.image(index) for index in mine.tolist()], crops, fabric.device)
                pixels, share, partners = mix(config, pixels, crops)
                pixels = pixels.contiguous(memory_format=torch.channels_last)
                logits = model(pixels)
                with torch.no_grad(), fabric.autocast():
                    network_logits = None if network is None else network(pixels).float()
                losses = objective(logits, mine, network_logits)
                if share < 1:
                    # All losses are linear in their targets but for what no weight changes, so that mixed losses have
                    # the gradient of mixed targets.
                    other = objective(logits, mine[partners], network_logits)
                    losses = {name: share * losses[name] + (1 - share) * other[name] for name in losses}
                fabric.backward(losses["loss"])
                fabric_optimizer.step()
                fabric_optimizer.zero_grad()
                sums += len(mine) * torch.stack([losses[name].detach() for name in LOSSES])
                bar.advance(len(batch))
            total = fabric.all_reduce(sums, reduce_op="sum")
            assert isinstance(total, Tensor)
            loss, *parts = (total / images).tolist()
            if not np.isfinite(loss):
                raise TrainingDiverged(f"the loss became {loss} in epoch {epoch} of {run_dir}; lower lr ({config.lr})")
            seconds = time.perf_counter() - started
            if writer is not None:
                val_top1, val_loss = validate(config, student, job, fabric.device)
                log = EpochLog(
                    epoch=epoch,
                    loss=loss,
                    **dict(zip(LOSSES[1:], parts, strict=True)),
                    lr=optimizer.param_groups[0]["lr"],
                    val_top1=val_top1,
                    val_loss=val_loss,
                    images_per_second=images / seconds,
                    seconds=seconds,
                )
                logs.append(log)
                if kept_epoch(config, logs) == epoch:
                    write_weights(run_dir, student.state_dict())
                if epoch % config.checkpoint_every == 0 and epoch < config.epochs:
                    state = {"student": student.state_dict(), "optimizer": optimizer.state_dict()}
                    write_checkpoint(run_dir, state | {"epochs": [dataclasses.asdict(log) for log in logs]})
                write_curves(writer, log)
                bar.describe(describe(log, config.epochs))
                if job.on_epoch is not None:
                    job.on_epoch(log)
            fabric.barrier()
    if writer is not None:
        writer.close()
        finish(job, logs)


def finish(job: Job, logs: list[EpochLog]) -> None:
    """Write the result, which makes the run a finished one, and drop the checkpoint that nobody needs any more."""
    result = {
        "epochs": [dataclasses.asdict(log) for log in logs],
        "best_epoch": kept_epoch(job.description.config, logs),
        "train_images": len(job.examples.train_indices.unique()),
        "val_images": len(job.examples.val_indices),
        "dropped_images": _dropped(job),
    }
    write_json(job.run_dir / "result.json", result)
    (job.run_dir / "checkpoint.pt").unlink(missing_ok=True)


@torch.no_grad()
def validate(
    config: StudentConfig, student: Student, job: Job, device: torch.device
) -> tuple[float, float] | tuple[None, None]:
    """Top-1 (0..1) and cross-entropy on the validation images; Nones where there are none."""
    indices = job.examples.val_indices
    if len(indices) == 0:
        return None, None
    student.eval()
    correct, loss = 0.0, 0.0
    for chunk in indices.split(VALIDATION_BATCH):
        views = [_evaluation_view(config, job.photos.image(index)) for index in chunk.tolist()]
        pixels = normalize_pixels(torch.stack(views).to(device), student.mean, student.std)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16-mixed"):
            logits = student(pixels.contiguous(memory_format=torch.channels_last)).class_logits_BC.float()
        labels = job.examples.labels_N[chunk].to(device)
        correct += (logits.argmax(dim=1) == labels).sum().item()
        loss += functional.cross_entropy(logits, labels, reduction="sum").item()
    return correct / len(indices), loss / len(indices)


def kept_epoch(config: StudentConfig, logs: list[EpochLog]) -> int:
    """The epoch whose weights are kept, as far as `logs` go: the last of all, or the one with the highest validation
    top-1, the later of equals. Few validation images name the best epoch by chance, and a rate that falls to the end
    makes the last one good: so the last is what most recipes keep."""
    if config.keep == "last":
        return config.epochs
    return max(logs, key=lambda log: (log.val_top1 or 0.0, log.epoch)).epoch


def write_curves(writer: SummaryWriter, log: Any) -> None:
    """The numbers of an epoch's log, a dataclass."""
    for name, value in dataclasses.asdict(log).items():
        if value is not None and name != "epoch":
            writer.add_scalar(name, value, log.epoch)
    writer.flush()


def describe(log: EpochLog, epochs: int) -> str:
    val = "" if log.val_top1 is None else f", val top-1 {100 * log.val_top1:.1f} %"
    return f"epoch {log.epoch}/{epochs}: loss {log.loss:.3f}{val}"


def _evaluation_view(config: StudentConfig, image: Tensor) -> Tensor:
    """uint8 [3, H, W] from the training cache -> uint8 [size, size, 3]."""
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    view = view_for_evaluation(picture, resize_size=config.shown_size, image_size=config.image_size)
    return torch.from_numpy(np.array(view))


def _dropped(job: Job) -> int:
    used = len(job.examples.train_indices.unique()) + len(job.examples.val_indices)
    return len(job.photos) - used + len(job.photos.dropped)


def require_devices(config: TrainingConfig) -> None:
    """Raises ConfigInvalid for devices that are not on this machine."""
    if config.accelerator == "mps" and not torch.backends.mps.is_available():
        raise ConfigInvalid("accelerator 'mps' is not on this machine; set accelerator to cpu")
    if config.accelerator == "cuda" and torch.cuda.device_count() < config.devices:
        raise ConfigInvalid(
            f"{config.devices} CUDA device(s) asked for, but torch sees {torch.cuda.device_count()}; "
            f"set accelerator to cpu, or check nvidia-smi and that torch is a CUDA build"
        )


@contextmanager
def relay(on_epoch: Callable[[Any], None] | None, config: TrainingConfig) -> Iterator[Callable[[Any], Any] | None]:
    """What rank 0 calls so that `on_epoch` runs in this process, where it may be any function."""
    if on_epoch is None or config.devices == 1:
        yield on_epoch
        return
    queue = multiprocessing.get_context("spawn").SimpleQueue()

    def deliver() -> None:
        while (log := queue.get()) is not None:
            on_epoch(log)

    thread = threading.Thread(target=deliver)
    thread.start()
    try:
        yield queue.put
    finally:
        queue.put(None)
        thread.join()
