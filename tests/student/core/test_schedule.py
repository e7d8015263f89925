import pytest
import torch

from student.classification.config import StudentConfig
from student.classification.model import build_student
from student.core.schedule import batches, build_optimizer, build_scheduler, parameter_groups


def test_base_and_distilled_of_one_seed_see_the_same_batches(config: StudentConfig) -> None:
    def order(config: StudentConfig, epoch: int) -> list[list[int]]:
        return [batch.tolist() for batch in batches(config, torch.arange(20), epoch, steps=3)]

    assert order(config, 1) == order(config.replace(alpha=0.0), 1)
    assert order(config, 1) != order(config, 2)
    assert order(config, 1) != order(config.replace(seed=1), 1)
    assert len({index for batch in order(config, 1) for index in batch}) == 18


def test_schedules_are_timms(config: StudentConfig) -> None:
    config = config.replace(schedule="multistep", milestones=(2, 4), epochs=6, warmup=0, lr=1.0)
    optimizer = build_optimizer(config, parameter_groups(config, build_student(config, classes=2, aspects=0)))
    scheduler = build_scheduler(config, optimizer, 10)
    rates = []
    for update in (0, 18, 20, 38, 40, 59):  # timm changes over one update early
        scheduler.step_update(update)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
