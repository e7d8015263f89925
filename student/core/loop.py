"""The epochs of a training run, whatever is trained: updates, curves, progress, and checkpoints to go on from."""

from __future__ import annotations

import dataclasses
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from storage.errors import AspectsError, InputInvalid, RunFailed
from storage.text import printable
from student.core.checkpoints import Checkpoint, read_checkpoint, remove_checkpoints, remove_damaged, write_checkpoint
from student.core.files import digest_of_file, write_json, writing
from student.core.progress import ImageBar, note
from student.core.runs import DESCRIPTION, RESULT, WEIGHTS, write_weights
from student.core.schedule import NETWORK, batches, build_optimizer, build_scheduler, derive_seed
from student.core.setting_errors import ConfigInvalid
from student.core.settings import TrainingConfig

# A dataclass: epoch, the losses, lr, what `measure` gives, images_per_second and seconds.
AnyLog = TypeVar("AnyLog", bound=Any)


class TrainingDiverged(InputInvalid):
    """The loss stopped being a number; the message says when and what to do."""


class TrainingTask(ABC, Generic[AnyLog]):
    """What is trained on one device, and what its kind does differently."""

    losses: ClassVar[Sequence[str]]  # names of what `step` gives; "loss" comes first, and is what is minimised
    log: type[AnyLog]

    def __init__(self, network: nn.Module) -> None:
        self.network = network  # whose weights are learnt and kept

    def wrapped(self) -> nn.Module:
        """What Fabric wraps for its precision and devices, and `step` is given."""
        return self.network

    def begin(self, epoch: int, rank: int) -> None:
        """Called before the first update of an epoch."""

    @abstractmethod
    def step(self, model: nn.Module, images: Tensor, epoch: int) -> dict[str, Tensor]:
        """The losses of one update, means over `images`, indices [B] of this device's part of the batch."""

    @abstractmethod
    def measure(self, epoch: int) -> dict[str, float | None]:
        """What the epoch's log says besides losses and speed."""

    @abstractmethod
    def keeps(self, logs: list[AnyLog]) -> bool:
        """Whether the weights after the last of `logs` are to be kept, in place of any before."""

    @abstractmethod
    def describe(self, log: AnyLog) -> str:
        """One epoch in a line."""


def run_epochs(
    fabric: Fabric,
    task: TrainingTask[AnyLog],
    config: TrainingConfig,
    indices: Tensor,
    run_dir: Path,
    *,
    progress: bool,
    on_epoch: Callable[[AnyLog], None] | None,
) -> tuple[list[AnyLog], str | None]:
    """All epochs over the images `indices` [N] on one device, going on from the checkpoint in `run_dir`.

    Every epoch draws its random numbers from the seed and its own number alone, so going on after a checkpoint needs no
    generator's state and gives the same weights as never having stopped. The first device writes weights, checkpoints
    and curves, and has the logs and the digest of the weights that were kept; other devices have none. Raises
    TrainingDiverged, and ConfigInvalid for fewer images than devices.
    """
    network, first = task.network, fabric.is_global_zero
    optimizer = build_optimizer(config, network)
    if len(indices) < config.devices:
        raise ConfigInvalid(
            f"{len(indices)} training images are too few for {config.devices} devices; give --set devices=1"
        )
    steps = max(1, len(indices) // config.batch_size)
    scheduler = build_scheduler(config, optimizer, steps)
    logs: list[AnyLog] = []
    kept: str | None = None
    checkpoint, refused = read_checkpoint(run_dir, network, optimizer, task.log, config.epochs)
    if checkpoint is not None:
        network.load_state_dict(checkpoint.student)
        optimizer.load_state_dict(checkpoint.optimizer)
        logs, kept = checkpoint.epochs, checkpoint.weights
    if first:
        for path, line in refused.items():
            note(line)
            remove_damaged(path)  # or it would take the place of a good one before it
    model, fabric_optimizer = fabric.setup(task.wrapped(), optimizer)
    writer = _open_curves(run_dir, len(logs)) if first else None
    images = steps * min(config.batch_size, len(indices))
    with ImageBar("training", images * config.epochs, done=images * len(logs), shown=progress and first) as bar:
        for epoch in range(len(logs) + 1, config.epochs + 1):
            started = time.perf_counter()
            model.train()
            torch.manual_seed(derive_seed(config.seed, epoch, NETWORK, fabric.global_rank))
            task.begin(epoch, fabric.global_rank)
            sums = torch.zeros(len(task.losses), device=fabric.device)
            for step, batch in enumerate(batches(config, indices, epoch, steps)):
                mine = batch[fabric.global_rank :: fabric.world_size]
                scheduler.step_update((epoch - 1) * steps + step)
                losses = _step(task, model, mine, epoch)
                fabric.backward(losses["loss"])
                if config.clip_norm is not None:
                    fabric.clip_gradients(model, fabric_optimizer, max_norm=config.clip_norm)
                fabric_optimizer.step()
                fabric_optimizer.zero_grad()
                sums += len(mine) * torch.stack([losses[name].detach() for name in task.losses])
                bar.advance(len(batch))
            total = fabric.all_reduce(sums, reduce_op="sum")
            assert isinstance(total, Tensor)
            means = dict(zip(task.losses, (total / images).tolist(), strict=True))
            if not np.isfinite(means["loss"]):
                raise TrainingDiverged(
                    f"the loss became {means['loss']} in epoch {epoch} of {run_dir}; lower lr ({config.lr})"
                )
            seconds = time.perf_counter() - started
            if writer is not None:
                log = task.log(
                    epoch=epoch,
                    **means,
                    lr=optimizer.param_groups[0]["lr"],
                    **task.measure(epoch),
                    images_per_second=images / seconds,
                    seconds=seconds,
                )
                logs.append(log)
                if task.keeps(logs):
                    kept = write_weights(run_dir, network.state_dict())
                if epoch % config.checkpoint_every == 0 and epoch < config.epochs:
                    write_checkpoint(
                        run_dir,
                        Checkpoint(
                            student=network.state_dict(), optimizer=optimizer.state_dict(), epochs=logs, weights=kept
                        ),
                    )
                _write_curves(writer, log, run_dir)
                bar.describe(f"epoch {epoch}/{config.epochs}: {task.describe(log)}")
                if on_epoch is not None:
                    on_epoch(log)
            fabric.barrier()
    if writer is None:
        return [], None
    writer.close()
    return logs, kept


def _step(task: TrainingTask[Any], model: nn.Module, images: Tensor, epoch: int) -> dict[str, Tensor]:
    """Raises ConfigInvalid where a network cannot be trained on one image at a time, as batch normalisation cannot."""
    try:
        return task.step(model, images, epoch)
    except ValueError as error:
        if len(images) > 1 or isinstance(error, AspectsError):
            raise
        raise ConfigInvalid(
            f"this network cannot be trained on batches of one image ({printable(str(error), 100)}); "
            f"give 2 or more for each device by --set batch_size=NUMBER, or add images"
        ) from error


def finish(run_dir: Path, logs: Sequence[Any], kept: str | None, **facts: Any) -> None:
    """Write the result, which makes the run a finished one, and drop the checkpoints that nobody needs any more.

    `kept` is the digest of the kept weights, None where a checkpoint of release 0.1.0 has none. Raises RunFailed where
    the file of weights has become another one.
    """
    found = digest_of_file(run_dir / WEIGHTS)
    if kept not in (None, found):
        raise RunFailed(
            f"{run_dir / WEIGHTS} was changed while training went on; give the same command again, and if that does "
            f"not help, delete the folder {run_dir}"
        )
    values = {"run": digest_of_file(run_dir / DESCRIPTION), "weights": found}
    write_json(run_dir / RESULT, {**values, "epochs": [dataclasses.asdict(log) for log in logs], **facts})
    remove_checkpoints(run_dir)


def _open_curves(run_dir: Path, epochs: int) -> SummaryWriter:
    """To go on after so many epochs. What an attempt without a checkpoint has drawn is deleted."""
    folder = run_dir / "tensorboard"
    if epochs == 0:
        shutil.rmtree(folder, ignore_errors=True)
    with writing(folder):
        return SummaryWriter(str(folder), purge_step=epochs + 1)


def _write_curves(writer: SummaryWriter, log: Any, run_dir: Path) -> None:
    with writing(run_dir / "tensorboard"):
        for name, value in dataclasses.asdict(log).items():
            if value is not None and name != "epoch":
                writer.add_scalar(name, value, log.epoch)
        writer.flush()
