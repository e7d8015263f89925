"""The order of the images, the optimizer and its learning rate, and seeds of random numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from timm.optim import param_groups_weight_decay  # type: ignore[attr-defined]
from timm.scheduler import create_scheduler_v2  # type: ignore[attr-defined]
from timm.scheduler.scheduler import Scheduler
from torch import Tensor, nn

from student.core.settings import TrainingConfig

# What the random numbers of an epoch are for: each purpose has its own, so that none shifts another's.
ORDER, CROPS, NETWORK = range(3)


def batches(
    config: TrainingConfig, indices: Tensor, epoch: int, steps: int, weights_N: Tensor | None = None
) -> Iterator[Tensor]:
    """`steps` batches of image indices in this epoch's order; what does not fill a batch waits for another epoch.

    With `weights_N` as many are drawn with replacement, each with a probability in proportion to its weight.
    """
    generator = torch.Generator().manual_seed(derive_seed(config.seed, epoch, ORDER))
    if weights_N is None:
        places = torch.randperm(len(indices), generator=generator)
    else:
        places = torch.multinomial(weights_N, len(indices), replacement=True, generator=generator)
    order = indices[places]
    for step in range(steps):
        yield order[step * config.batch_size : (step + 1) * config.batch_size]


def derive_seed(*numbers: int) -> int:
    """A seed for one purpose, unrelated to the seeds of other numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


@dataclass(frozen=True, slots=True)
class UpdatePlan:
    """An epoch's number of updates, and the number of batches that each one adds up the gradients of."""

    updates: int
    per_update: int

    @classmethod
    def of(cls, config: TrainingConfig, images: int) -> UpdatePlan:
        """Of so many training images; batches that do not fill an update wait for another epoch."""
        full = max(1, images // config.batch_size)
        per_update = min(config.accumulate, full)
        return cls(updates=full // per_update, per_update=per_update)

    @property
    def batches(self) -> int:
        return self.updates * self.per_update


def parameter_groups(config: TrainingConfig, network: nn.Module) -> list[dict[str, Any]]:
    """The parameters of `network`, those without weight decay in a group of their own: with AdamW norms and biases,
    since decoupled decay would pull them to zero, as timm does; with `selective_decay` also those that the network
    names."""
    if config.optimizer == "sgd" and not config.selective_decay:
        return [{"params": list(network.parameters())}]
    groups: list[dict[str, Any]] = param_groups_weight_decay(
        network, config.weight_decay, no_weight_decay_list=undecayed(config, network)
    )
    return groups


def undecayed(config: TrainingConfig, network: nn.Module) -> set[str]:
    """Names of the parameters that the modules of `network` want without weight decay, where the config spares them."""
    if not config.selective_decay:
        return set()
    return {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in network.named_modules()
        if callable(named := getattr(module, "no_weight_decay", None))
        for name in named()
    }


def build_optimizer(config: TrainingConfig, groups: Sequence[dict[str, Any]]) -> torch.optim.Optimizer:
    """The config's optimizer of `groups` of parameters."""
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            groups,
            lr=config.lr,
            momentum=config.momentum,
            nesterov=config.nesterov,
            weight_decay=config.weight_decay,
        )
    return torch.optim.AdamW(groups, lr=config.lr)


def highest_rate(optimizer: torch.optim.Optimizer) -> float:
    """The learning rate of the group of parameters that has the highest."""
    return max(float(group["lr"]) for group in optimizer.param_groups)


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
