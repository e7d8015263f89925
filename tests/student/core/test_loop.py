from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional

from storage.datasets import FileDataset
from student.classification.config import StudentConfig
from student.classification.examples import TeacherAnswers
from student.classification.training import train
from student.core.loop import TrainingDiverged, run_epochs
from student.core.setting_errors import ConfigInvalid
from student.core.settings import TrainingConfig
from student.core.training_task import Part, TrainingTask


def test_a_loss_that_is_no_number_stops_the_run(
    config: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers, tmp_path: Path
) -> None:
    with pytest.raises(TrainingDiverged, match=r"the loss became nan in epoch \d.*lower lr"):
        train(config.replace(lr=1e30, warmup=0), dataset, teacher_answers, tmp_path, progress=False)


def test_one_image_at_a_time_is_refused_where_the_network_cannot(
    config: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers, tmp_path: Path
) -> None:
    with pytest.raises(ConfigInvalid, match=r"many backbones need batches of two images or more: set batch_size"):
        train(config.replace(batch_size=1), dataset, teacher_answers, tmp_path, progress=False)


def test_more_images_in_a_batch_than_there_are_is_one_batch(
    config: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers, tmp_path: Path
) -> None:
    run = train(config.replace(batch_size=500, epochs=1, warmup=0), dataset, teacher_answers, tmp_path, progress=False)
    assert run.train_images == 18


@dataclass(frozen=True, kw_only=True)
class LossLog:
    epoch: int
    loss: float
    lr: float
    images_per_second: float
    seconds: float


class SmallTask(TrainingTask[LossLog]):
    """A network without batch norm and without random numbers, on 26 images of four numbers."""

    losses: ClassVar[Sequence[str]] = ("loss",)
    log = LossLog

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randn(26, 4, generator=generator)
        self.labels = torch.randint(3, (26,), generator=generator)
        network = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 3))
        for parameter in network.parameters():
            nn.init.normal_(parameter, generator=generator)
        super().__init__(network)

    def step(self, model: nn.Module, part: Part, epoch: int) -> dict[str, Tensor]:
        return {"loss": functional.cross_entropy(model(self.images[part.indices]), self.labels[part.indices])}

    def measure(self, epoch: int) -> dict[str, float | None]:
        return {}

    def keeps(self, logs: list[LossLog]) -> bool:
        return False

    def describe(self, log: LossLog) -> str:
        return ""


@pytest.mark.parametrize(
    "changes", [{}, {"clip_norm": 1.0}, {"optimizer": "adamw", "ema": 0.5}], ids=["sgd", "clip", "adamw"]
)
def test_k_batches_of_b_give_the_update_of_one_batch_of_k_times_b(
    config: StudentConfig, tmp_path: Path, changes: dict[str, Any]
) -> None:
    found, losses = [], []
    for accumulate in (1, 2, 3):
        one = config.replace(batch_size=12 // accumulate, accumulate=accumulate, checkpoint_every=3, **changes)
        task, folder = SmallTask(), tmp_path / str(accumulate)
        folder.mkdir()
        fabric = Fabric(accelerator="cpu", devices=1)
        logs, _ = run_epochs(fabric, task, one, torch.arange(26), folder, progress=False, on_epoch=None)
        found.append(torch.cat([parameter.detach().flatten() for parameter in task.network.parameters()]))
        losses.append([log.loss for log in logs])
    start = torch.cat([parameter.detach().flatten() for parameter in SmallTask().network.parameters()])
    assert (found[0] - start).abs().max() > 0.01
    for weights, of_epochs in zip(found[1:], losses[1:], strict=True):
        torch.testing.assert_close(weights, found[0], rtol=0, atol=2e-6)
        assert of_epochs == pytest.approx(losses[0], rel=1e-5)


class Elsewhere(Fabric):
    """On a device that every machine has, and on which nothing is computed."""

    @property
    def device(self) -> torch.device:
        return torch.device("meta")


class Asked(Exception):
    pass


def test_the_optimizer_is_given_parameters_on_the_device(config: StudentConfig, tmp_path: Path) -> None:
    """Its state, which is loaded from a checkpoint, and the average are made where the parameters are then."""

    class AskedTask(SmallTask):
        def parameter_groups(self, config: TrainingConfig) -> list[dict[str, Any]]:
            raise Asked({parameter.device.type for parameter in self.network.parameters()})

    fabric = Elsewhere(accelerator="cpu", devices=1)
    with pytest.raises(Asked, match=r"\{'meta'\}"):
        run_epochs(fabric, AskedTask(), config, torch.arange(26), tmp_path, progress=False, on_epoch=None)
