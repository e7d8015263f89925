import pytest
import torch

from student.classification.config import StudentConfig
from student.classification.model import build_student
from student.classification.task import class_sampling_weights
from student.classification.training import layer_groups
from student.core.schedule import UpdatePlan, batches, build_optimizer, build_scheduler, highest_rate, parameter_groups


def test_base_and_distilled_of_one_seed_see_the_same_batches(config: StudentConfig) -> None:
    def order(config: StudentConfig, epoch: int) -> list[list[int]]:
        return [batch.tolist() for batch in batches(config, torch.arange(20), epoch, steps=3)]

    assert order(config, 1) == order(config.replace(alpha=0.0), 1)
    assert order(config, 1) != order(config, 2)
    assert order(config, 1) != order(config.replace(seed=1), 1)
    assert len({index for batch in order(config, 1) for index in batch}) == 18


def test_weighted_images_are_drawn_in_proportion_and_by_the_seed(config: StudentConfig) -> None:
    labels = torch.tensor([0] * 60 + [1] * 15 + [2] * 5 + [-1] * 20)
    weights = class_sampling_weights(labels)
    assert [weights[labels == label].sum().item() for label in (0, 1, 2, -1)] == pytest.approx([80 / 3] * 3 + [20])

    def drawn(config: StudentConfig, epoch: int) -> torch.Tensor:
        found = torch.cat(list(batches(config, torch.arange(200, 300), epoch, 16, weights)))
        return labels[found - 200]

    counts = torch.stack([torch.bincount(drawn(config, epoch) + 1, minlength=4) for epoch in range(200)]).sum(dim=0)
    # Of 19,200 draws; a standard deviation is 0.003.
    assert (counts / counts.sum()).tolist() == pytest.approx([0.2, *[0.8 / 3] * 3], abs=0.015)
    assert torch.equal(drawn(config, 1), drawn(config, 1))
    assert not torch.equal(drawn(config, 1), drawn(config, 2))
    assert not torch.equal(drawn(config, 1), drawn(config.replace(seed=1), 1))


def test_schedules_are_timms(config: StudentConfig) -> None:
    config = config.replace(schedule="multistep", milestones=(2, 4), epochs=6, warmup=0, lr=1.0)
    optimizer = build_optimizer(config, parameter_groups(config, build_student(config, classes=2, aspects=0)))
    scheduler = build_scheduler(config, optimizer, 10)
    rates = []
    for update in (0, 18, 20, 38, 40, 59):  # timm changes over one update early
        scheduler.step_update(update)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize(
    ("images", "accumulate", "updates", "per_update"),
    [(100, 1, 10, 1), (100, 3, 3, 3), (100, 10, 1, 10), (100, 99, 1, 10), (4, 2, 1, 1)],
)
def test_an_epoch_is_whole_updates(
    config: StudentConfig, images: int, accumulate: int, updates: int, per_update: int
) -> None:
    plan = UpdatePlan.of(config.replace(batch_size=10, accumulate=accumulate), images)
    assert plan == UpdatePlan(updates=updates, per_update=per_update)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_position_embeddings_are_spared_from_decay_where_asked(config: StudentConfig, optimizer: str) -> None:
    config = config.replace(backbone="test_vit", optimizer=optimizer)
    student = build_student(config, classes=3, aspects=0)
    embedding = dict(student.named_parameters())["network.pos_embed"]

    def decayed(config: StudentConfig) -> bool:
        groups = build_optimizer(config, parameter_groups(config, student)).param_groups
        (found,) = [group["weight_decay"] for group in groups if any(one is embedding for one in group["params"])]
        return bool(found > 0)

    assert decayed(config)
    assert not decayed(config.replace(selective_decay=True))


def test_lower_layers_learn_at_lower_rates(config: StudentConfig) -> None:
    config = config.replace(backbone="test_vit", layer_decay=0.5, method="makd-dual", warmup=0, lr=1.0)
    student = build_student(config, classes=3, aspects=2)
    optimizer = build_optimizer(config, layer_groups(config, student))
    build_scheduler(config, optimizer, 10).step_update(0)
    rates = {id(one): group["lr"] for group in optimizer.param_groups for one in group["params"]}
    names = {name: rates[id(one)] for name, one in student.named_parameters()}
    assert names["network.head.weight"] == names["aspect_head.0.weight"] == highest_rate(optimizer) == 1.0
    assert names["network.blocks.0.attn.qkv.weight"] == names["network.blocks.1.attn.qkv.weight"] / 2
    assert names["network.pos_embed"] == min(rates.values())
