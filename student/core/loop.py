"""The epochs of a training run, whatever is trained: updates, curves, progress, and checkpoints to resume from."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from timm.scheduler.scheduler import Scheduler
from torch import Tensor, nn

from storage.errors import AspectsError, InputInvalid, RunFailed
from storage.text import printable
from student.core.batch_norm import synchronize_batch_norm
from student.core.checkpoints import Checkpoint, read_checkpoint, remove_checkpoints, remove_damaged, write_checkpoint
from student.core.curves import open_curves, write_curves
from student.core.files import digest_of_file, write_json
from student.core.progress import ImageBar, note
from student.core.runs import (
    DESCRIPTION,
    RESULT,
    WEIGHTS,
    drop_weights_before,
    restore_weights,
    write_weights,
)
from student.core.schedule import (
    NETWORK,
    UpdatePlan,
    batches,
    build_optimizer,
    build_scheduler,
    derive_seed,
    highest_rate,
)
from student.core.setting_errors import ConfigInvalid
from student.core.settings import TrainingConfig
from student.core.training_task import AnyLog, Part, TrainingTask
from student.core.weight_average import WeightAverage


class TrainingDiverged(InputInvalid):
    """The loss is not finite any more; the message says when and what to do."""


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
    """All epochs over the images `indices` [N] on one device, resumed from the checkpoint in `run_dir`.

    Every epoch draws its random numbers from the seed and its own number alone, so resuming needs no generator's state
    and gives the same weights as an uninterrupted run. The first device writes weights, checkpoints and curves, and has
    the logs and the digest of the weights that were kept; other devices have none. Raises TrainingDiverged, and
    ConfigInvalid for fewer images than devices.
    """
    first = fabric.is_global_zero
    # Before there are an optimizer's state and an average, which are made where the network is.
    task.network.to(fabric.device)
    optimizer = build_optimizer(config, task.parameter_groups(config))
    plan = _plan(config, len(indices))
    scheduler = build_scheduler(config, optimizer, plan.updates)
    if config.sync_batchnorm and fabric.world_size > 1:
        synchronize_batch_norm(task.network, fabric.device)
    average = None if config.ema is None else WeightAverage(task.network, config.ema)
    logs, kept = _resume(fabric, task, optimizer, average, config, run_dir)
    if not logs:
        task.start()
        if average is not None:
            average.load_state_dict(task.network.state_dict())
    model, fabric_optimizer = fabric.setup(task.wrapped(), optimizer)
    updates = _Updates(fabric, task, config, indices, plan, model, fabric_optimizer, scheduler, average)
    writer = open_curves(run_dir, len(logs)) if first else None
    total, done = updates.images * config.epochs, updates.images * len(logs)
    stopped = bool(logs) and task.stops(logs)
    with ImageBar("training", total, done=done, shown=progress and first) as bar:
        for epoch in range(len(logs) + 1, config.epochs + 1):
            if stopped:
                break
            means, seconds = _train_epoch(updates, epoch, bar, run_dir)
            if writer is not None:
                rates = {"lr": highest_rate(optimizer), "images_per_second": updates.images / seconds}
                with nullcontext() if average is None else average.in_place_of(task.network):
                    log = task.log(epoch=epoch, **means, **task.measure(epoch), **rates, seconds=seconds)
                    logs.append(log)
                    if task.keeps(logs):
                        kept = write_weights(run_dir, task.weights())
                if epoch % config.checkpoint_every == 0 and epoch < config.epochs:
                    _save(fabric, run_dir, task, optimizer, average, logs, kept)
                write_curves(writer, log, run_dir)
                bar.describe(f"epoch {epoch}/{config.epochs}: {task.describe(log)}")
                if on_epoch is not None:
                    on_epoch(log)
            # The other devices have no logs; this waits for the first one too.
            stopped = fabric.broadcast(writer is not None and task.stops(logs))
    if writer is None:
        return [], None
    writer.close()
    return logs, kept


def _plan(config: TrainingConfig, images: int) -> UpdatePlan:
    """Raises ConfigInvalid for fewer images than devices."""
    if images < config.devices:
        raise ConfigInvalid(f"{images} training images are too few for {config.devices} devices; give --set devices=1")
    return UpdatePlan.of(config, images)


def _train_epoch(updates: _Updates, epoch: int, bar: ImageBar, run_dir: Path) -> tuple[dict[str, float], float]:
    """The mean of each loss, and seconds. Raises TrainingDiverged."""
    started = time.perf_counter()
    means = updates.run_epoch(epoch, bar)
    if not np.isfinite(means["loss"]):
        lr = updates.config.lr
        raise TrainingDiverged(f"the loss became {means['loss']} in epoch {epoch} of {run_dir}; lower lr ({lr})")
    return means, time.perf_counter() - started


@dataclass(frozen=True)
class _Updates:
    """The updates of an epoch on one device, by batches of the images `indices` [N]."""

    fabric: Fabric
    task: TrainingTask[Any]
    config: TrainingConfig
    indices: Tensor
    plan: UpdatePlan
    model: Any  # as Fabric wraps it, like the optimizer
    optimizer: Any
    scheduler: Scheduler
    average: WeightAverage | None

    @property
    def images(self) -> int:
        """Images of an epoch, over all devices."""
        return self.plan.batches * min(self.config.batch_size, len(self.indices))

    def run_epoch(self, epoch: int, bar: ImageBar) -> dict[str, float]:
        """Train for one epoch; the mean of each loss over its images and all devices."""
        fabric, task, plan = self.fabric, self.task, self.plan
        self.model.train()
        torch.manual_seed(derive_seed(self.config.seed, epoch, NETWORK, fabric.global_rank))
        task.begin(epoch)
        sums = torch.zeros(len(task.losses), device=fabric.device)
        weights_N = task.sampling_weights(self.indices)
        order = list(batches(self.config, self.indices, epoch, plan.batches, weights_N))
        loaded = task.load(batch[fabric.global_rank :: fabric.world_size] for batch in order)
        for number, (batch, images) in enumerate(zip(order, loaded, strict=True)):
            rows = range(fabric.global_rank, len(batch), fabric.world_size)
            mine = Part(batch[fabric.global_rank :: fabric.world_size], rows, images)
            update, place = divmod(number, plan.per_update)
            update += (epoch - 1) * plan.updates
            self.scheduler.step_update(update)
            last = place + 1 == plan.per_update
            with nullcontext() if last else fabric.no_backward_sync(self.model):
                losses = _step(task, self.model, mine, epoch)
                fabric.backward(losses["loss"] / plan.per_update)
            if last:
                self._update(update)
            sums += len(rows) * torch.stack([losses[name].detach() for name in task.losses])
            bar.advance(len(batch))
        total = fabric.all_reduce(sums, reduce_op="sum")
        assert isinstance(total, Tensor)
        return dict(zip(task.losses, (total / self.images).tolist(), strict=True))

    def _update(self, number: int) -> None:
        if self.config.clip_norm is not None:
            self.fabric.clip_gradients(self.model, self.optimizer, max_norm=self.config.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update(self.task.network, number)
        self.task.after_update()


def _resume(
    fabric: Fabric,
    task: TrainingTask[AnyLog],
    optimizer: torch.optim.Optimizer,
    average: WeightAverage | None,
    config: TrainingConfig,
    run_dir: Path,
) -> tuple[list[AnyLog], str | None]:
    """Load the checkpoint into network, optimizer, average and loss scale: the logs of its epochs and the digest of
    the kept weights. The first device reads it, since others may be on machines that do not see the folder, and removes
    damaged checkpoints, with a note about each."""
    checkpoint: Checkpoint[AnyLog] | None = None
    if fabric.is_global_zero:
        checkpoint, refused = read_checkpoint(
            run_dir, task.network, optimizer, task.log, config.epochs, averaged=average is not None, task=task.state
        )
        for path, line in refused.items():
            note(line)
            remove_damaged(path)  # or it would take the place of a good one before it
        restore_weights(run_dir, None if checkpoint is None else checkpoint.weights)
    checkpoint = fabric.broadcast(checkpoint)
    if checkpoint is None:
        return [], None
    task.network.load_state_dict(checkpoint.student)
    optimizer.load_state_dict(checkpoint.optimizer)
    if average is not None and checkpoint.average is not None:
        average.load_state_dict(checkpoint.average)
    task.state.update(checkpoint.task)
    if checkpoint.scaler:
        fabric.strategy.precision.load_state_dict(checkpoint.scaler)
    return checkpoint.epochs, checkpoint.weights


def _save(
    fabric: Fabric,
    run_dir: Path,
    task: TrainingTask[Any],
    optimizer: torch.optim.Optimizer,
    average: WeightAverage | None,
    logs: list[Any],
    kept: str | None,
) -> None:
    checkpoint = Checkpoint(
        student=task.network.state_dict(),
        optimizer=optimizer.state_dict(),
        average=None if average is None else average.state_dict(),
        scaler=fabric.strategy.precision.state_dict(),
        epochs=logs,
        weights=kept,
        task=task.state,
    )
    write_checkpoint(run_dir, checkpoint)
    drop_weights_before(run_dir)


def _step(task: TrainingTask[Any], model: nn.Module, part: Part, epoch: int) -> dict[str, Tensor]:
    """Raises ConfigInvalid where a network cannot be trained on one image at a time, as batch normalisation cannot."""
    try:
        return task.step(model, part, epoch)
    except ValueError as error:
        if len(part.indices) > 1 or isinstance(error, AspectsError):
            raise
        raise ConfigInvalid(
            f"this network cannot be trained on batches of one image ({printable(str(error), 100)}); "
            f"give 2 or more for each device by --set batch_size=NUMBER, or add images"
        ) from error


def finish(run_dir: Path, logs: Sequence[Any], kept: str | None, **facts: Any) -> None:
    """Write the result, which makes the run a finished one, and drop the checkpoints that are no longer needed.

    `kept` is the digest of the kept weights, None where a checkpoint of release 0.1.0 has none. Raises RunFailed where
    the file of weights has become another one.
    """
    found = digest_of_file(run_dir / WEIGHTS)
    if kept not in (None, found):
        raise RunFailed(
            f"{run_dir / WEIGHTS} was changed while training ran; give the same command again, and if that does "
            f"not help, delete the folder {run_dir}"
        )
    values = {"run": digest_of_file(run_dir / DESCRIPTION), "weights": found}
    write_json(run_dir / RESULT, {**values, "epochs": [dataclasses.asdict(log) for log in logs], **facts})
    remove_checkpoints(run_dir)
    drop_weights_before(run_dir)
