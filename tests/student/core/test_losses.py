import math
from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from student.core.losses import (
    bce_loss,
    dkd_loss,
    kd_loss,
    mse_loss,
    multi_level_kd_loss,
    standardized_kd_loss,
)

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

LABELS = torch.tensor([0, 3])


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    torch.manual_seed(0)


def test_zero_logits_cost_log_2_for_any_answers() -> None:
    torch.testing.assert_close(bce_loss(torch.zeros(2, 3), torch.rand(2, 3)).item(), math.log(2))


def test_aspects_are_averaged_over_images_and_questions() -> None:
    logits, teacher = torch.randn(4, 3), torch.rand(4, 3)
    p = logits.sigmoid()
    expected = -(teacher * p.log() + (1 - teacher) * (1 - p).log()).mean()
    torch.testing.assert_close(bce_loss(logits, teacher), expected)
    torch.testing.assert_close(mse_loss(logits, teacher), ((logits - teacher) ** 2).mean())


@pytest.mark.parametrize(
    ("loss", "plain"),
    [(bce_loss, functional.binary_cross_entropy_with_logits), (mse_loss, functional.mse_loss)],
)
def test_answers_that_do_not_exist_count_for_nothing(loss: Loss, plain: Loss) -> None:
    logits = torch.randn(2, 2, requires_grad=True)
    teacher = torch.tensor([[0.9, math.nan], [math.nan, 0.2]])
    found = loss(logits, teacher)
    found.backward()
    present = torch.stack([logits[0, 0], logits[1, 1]])
    torch.testing.assert_close(found, plain(present, torch.tensor([0.9, 0.2])))
    assert logits.grad is not None
    assert logits.grad[0, 1] == 0
    assert logits.grad[0, 0] != 0


@pytest.mark.parametrize("loss", [bce_loss, mse_loss])
def test_no_answer_at_all_costs_nothing(loss: Loss) -> None:
    assert loss(torch.randn(2, 3), torch.full((2, 3), math.nan)) == 0
    assert loss(torch.zeros(2, 0), torch.zeros(2, 0)) == 0


def test_distillation_is_the_divergence_at_a_temperature() -> None:
    student, target = torch.randn(2, 5), torch.randn(2, 5)
    p, q = (target / 4).softmax(1), (student / 4).softmax(1)
    torch.testing.assert_close(kd_loss(student, target, 4.0), 16 * (p * (p / q).log()).sum(1).mean())
    torch.testing.assert_close(kd_loss(student, student + 3, 4.0).item(), 0.0, atol=1e-6, rtol=0)


def test_rows_without_a_target_distribution_count_for_nothing() -> None:
    student, target = torch.randn(2, 5), torch.randn(2, 5)
    missing = target.clone()
    missing[1] = math.nan
    torch.testing.assert_close(kd_loss(student, missing, 2.0), kd_loss(student[:1], target[:1], 2.0))


def test_decoupled_parts_add_up_to_distillation() -> None:
    # KL = KL(right against wrong) + (1 - p(right)) KL(among the wrong), equation 7 of arXiv 2203.08679.
    student, target = torch.randn(1, 5), torch.randn(1, 5)
    label = torch.tensor([3])
    wrong_share = 1 - (target / 4).softmax(1)[0, 3].item()
    whole = dkd_loss(student, target, label, temperature=4.0, beta=wrong_share)
    torch.testing.assert_close(whole, kd_loss(student, target, 4.0))


def test_standardised_distillation_sees_neither_size_nor_shift() -> None:
    student, target = torch.randn(2, 5), torch.randn(2, 5)
    torch.testing.assert_close(
        standardized_kd_loss(7 * student + 2, 0.1 * target, 2.0), standardized_kd_loss(student, target, 2.0)
    )
    torch.testing.assert_close(standardized_kd_loss(3 * target, target, 2.0).item(), 0.0, atol=1e-6, rtol=0)


def test_multi_level_distillation_is_nothing_for_the_same_logits() -> None:
    logits = torch.randn(3, 5)
    torch.testing.assert_close(multi_level_kd_loss(logits, logits).item(), 0.0, atol=1e-5, rtol=0)
    student, target = ((part / 2).softmax(1) for part in (logits, logits.flip(0)))
    images = ((student @ student.T - target @ target.T) ** 2).sum() / 3
    classes = ((student.T @ student - target.T @ target) ** 2).sum() / 5
    torch.testing.assert_close(
        multi_level_kd_loss(logits, logits.flip(0), (2.0,)),
        standardized_kd_loss(logits, logits.flip(0), 2.0) + images + classes,
    )
