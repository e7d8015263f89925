"""The stages of a backbone, and hooks that record what passes through modules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from student.core.setting_errors import ConfigInvalid


@contextmanager
def outputs_of(modules: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """The outputs of `modules` while the block runs, in the order in which they run."""
    kept: list[Tensor] = []
    hooks = [module.register_forward_hook(lambda _, __, output: kept.append(output)) for module in modules]
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def inputs_of(modules: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """The inputs of `modules` while the block runs. The layers before a classifier differ between families of networks;
    its input does not."""
    kept: list[Tensor] = []
    hooks = [module.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0])) for module in modules]
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()


@dataclass(frozen=True, slots=True)
class Stage:
    """An inner stage of a backbone: its module's name and its number of channels."""

    module: str
    channels: int

    def pool(self, output: Tensor) -> Tensor:
        """The mean over places of feature maps [B, C, H, W] or [B, H, W, C], or of tokens [B, N, C]: [B, C]. Raises
        ValueError where the stage passes on something else."""
        if not isinstance(output, Tensor):
            raise ValueError(f"stage '{self.module}' passes on several outputs")
        if output.dim() == 4 and output.shape[1] == self.channels:
            return output.mean(dim=(2, 3))
        return output.flatten(1, -2).mean(dim=1)


def inner_stages(network: nn.Module, count: int, image_size: int) -> tuple[Stage, ...]:
    """The `count` stages before the last one, the first of them first: where resolution changes, or, in a transformer
    of one resolution, thirds of the depth. Raises ConfigInvalid for a network that has fewer."""
    if count == 0:
        return ()
    info: Sequence[Mapping[str, Any]] = getattr(network, "feature_info", ())
    # Of the places with the same resolution the last one counts.
    stages = list({place["reduction"]: Stage(place["module"], place["num_chs"]) for place in info}.values())
    if not info:
        stages = _observe_stages(network, image_size)
    elif len(stages) == 1:
        thirds = [info[len(info) * third // 3 - 1] for third in (1, 2, 3)]
        stages = [Stage(place["module"], place["num_chs"]) for place in thirds]
    if len(stages) <= count:
        raise ConfigInvalid(
            f"the method learns at {count} inner stage(s), but this backbone has {max(0, len(stages) - 1)}; "
            f"take another backbone, or method makd"
        )
    return tuple(stages[-count - 1 : -1])


def _observe_stages(network: nn.Module, image_size: int) -> list[Stage]:
    """For a network that does not name its stages: at each resolution of its feature maps the last of the outermost
    modules, since the first layers of a stage still have the resolution before it. Modules that run several times in
    one pass are none."""
    found: dict[int, Stage] = {}
    runs: Counter[nn.Module] = Counter()

    def note(module: nn.Module, _: object, output: object) -> None:
        runs[module] += 1
        if isinstance(output, Tensor) and output.dim() == 4 and output.shape[-1] > 1:
            stage, before = Stage(names[module], output.shape[1]), found.get(output.shape[-1])
            if before is None or stage.module.count(".") <= before.module.count("."):
                found[output.shape[-1]] = stage

    names = {module: name for name, module in network.named_modules() if name}
    hooks = [module.register_forward_hook(note) for module in names]
    was_training = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, image_size, image_size))
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    return [stage for stage in found.values() if runs[network.get_submodule(stage.module)] == 1]
