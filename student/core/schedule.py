"""The order of the images, the optimizer and its learning rate, and seeds of random numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from timm.optim import param_groups_weight_decay  # type: ignore[attr-defined]
from timm.scheduler import create_scheduler_v2  # type: ignore[attr-defined]
from timm.scheduler.scheduler import Scheduler
from torch import Tensor, nn

from student.core.settings import TrainingConfig

# What the random numbers of an epoch are for: each purpose has its own, so that none shifts another's.
ORDER, CROPS, NETWORK = range(3)


def batches(config: TrainingConfig, indices: Tensor, epoch: int, steps: int) -> Iterator[Tensor]:
    """`steps` batches of image indices in this epoch's order; what does not fill a batch waits for another epoch."""
    generator = torch.Generator().manual_seed(derive_seed(config.seed, epoch, ORDER))
    order = indices[torch.randperm(len(indices), generator=generator)]
    for step in range(steps):
        yield order[step * config.batch_size : (step + 1) * config.batch_size]


def derive_seed(*numbers: int) -> int:
    """A seed for one purpose, unrelated to the seeds of other numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def build_optimizer(config: TrainingConfig, student: nn.Module) -> torch.optim.Optimizer:
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            student.parameters(),
            lr=config.lr,
            momentum=config.momentum,
            nesterov=config.nesterov,
            weight_decay=config.weight_decay,
        )
    # Decoupled decay would pull norms and biases to zero, so they are spared, as timm does.
    return torch.optim.AdamW(param_groups_weight_decay(student, config.weight_decay), lr=config.lr)


def build_scheduler(config: TrainingConfig, optimizer: torch.optim.Optimizer, steps: int) -> Scheduler:
    """timm's schedule, a function of the number of updates alone: it has no state to save."""
    scheduler: Scheduler | None = create_scheduler_v2(
        optimizer,
        sched=config.schedule,
        num_epochs=config.epochs,
        decay_milestones=list(config.milestones),
        decay_rate=config.decay_rate,
        warmup_epochs=config.warmup,
        warmup_lr=config.lr / 100,
        step_on_epochs=False,
        updates_per_epoch=steps,
    )[0]
    assert scheduler is not None, f"timm has no schedule {config.schedule}"
    return scheduler
