"""The larger network that a student learns from, where its method says so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from student.model import Student, optimized
from student.runs import RunDescription, load_run
from student.settings import ConfigInvalid


@dataclass(frozen=True)
class LargerNetwork:
    """A finished run's network, for batches as `student` is shown them: its pixels become `network`'s own."""

    network: Student
    student: Student
    image_size: int

    @classmethod
    def load(cls, description: RunDescription, student: Student, device: torch.device) -> LargerNetwork | None:
        """The network of `description`'s config, None where its method learns from none. Raises ConfigInvalid for one
        of other classes, RunInvalid where there is none."""
        config = description.config
        if config.network is None or not config.objective.network_terms:
            return None
        run = load_run(Path(config.network))
        if run.description.class_names != description.class_names:
            raise ConfigInvalid(
                f"the network in {config.network} was trained on other classes; take a run on '{description.dataset}'"
            )
        network = optimized(run.load().to(device)).eval()
        return cls(network=network, student=student, image_size=run.description.config.image_size)

    def __call__(self, pixels_BCHW: Tensor) -> Tensor:
        """Class logits [B, C]."""
        mean, std, own_mean, own_std = (
            torch.tensor(values, device=pixels_BCHW.device).view(1, 3, 1, 1)
            for values in (self.student.mean, self.student.std, self.network.mean, self.network.std)
        )
        pixels_BCHW = (pixels_BCHW * std + mean - own_mean) / own_std
        if pixels_BCHW.shape[-1] != self.image_size:
            size = (self.image_size, self.image_size)
            pixels_BCHW = functional.interpolate(pixels_BCHW, size, mode="bilinear", antialias=True)
        return self.network(pixels_BCHW.contiguous(memory_format=torch.channels_last)).class_logits_BC
