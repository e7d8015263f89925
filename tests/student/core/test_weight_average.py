from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from storage.datasets import FileDataset
from student.classification.config import StudentConfig
from student.classification.examples import TeacherAnswers
from student.classification.runs import EpochLog
from student.classification.training import train
from student.core.weight_average import WeightAverage


def test_the_average_follows_the_weights_by_its_decay() -> None:
    network = nn.Linear(1, 1, bias=False)
    average = WeightAverage(network, decay=0.5)
    expected = 0.0
    for number, value in enumerate([1.0, 2.0, 4.0, 8.0]):
        nn.init.constant_(network.weight, value)
        average.update(network, number)
        decay = min(0.5, 1 - (1 + number) ** (-2 / 3))
        expected = decay * expected + (1 - decay) * value
    assert abs(average.state_dict()["weight"].item() - expected) < 1e-6
    with average.in_place_of(network):
        assert abs(network.weight.item() - expected) < 1e-6
    assert network.weight.item() == 8.0


def test_the_average_is_measured_and_kept(
    config: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers, tmp_path: Path
) -> None:
    """A decay close to 0 averages nothing, so the same is kept as without; a higher one keeps other weights."""
    config = config.replace(epochs=2, warmup=0)

    def trained(name: str, ema: float | None) -> tuple[dict[str, torch.Tensor], tuple[EpochLog, ...]]:
        run = train(config.replace(ema=ema), dataset, teacher_answers, tmp_path / name, progress=False)
        return run.load().state_dict(), run.epochs

    plain, plain_logs = trained("plain", None)
    last, last_logs = trained("last", 1e-9)
    average, average_logs = trained("average", 0.9)
    for name, tensor in plain.items():
        torch.testing.assert_close(last[name], tensor)
    assert any(not torch.equal(average[name], tensor) for name, tensor in plain.items())
    assert [log.loss for log in plain_logs] == [log.loss for log in last_logs] == [log.loss for log in average_logs]
    assert [log.val_loss for log in plain_logs] != [log.val_loss for log in average_logs]
