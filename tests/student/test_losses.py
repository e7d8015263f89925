import math

import torch

from student.losses import aspect_loss, student_losses
from student.model import Logits

LABELS = torch.tensor([0, 3])


def test_zero_logits_give_log_of_the_classes_and_log_2():
    losses = student_losses(Logits(torch.zeros(2, 5), torch.zeros(2, 3)), LABELS, torch.rand(2, 3), alpha=4.0)
    torch.testing.assert_close(losses["classification"].item(), math.log(5))
    torch.testing.assert_close(losses["aspects"].item(), math.log(2))
    torch.testing.assert_close(losses["loss"].item(), math.log(5) + 4 * math.log(2))


def test_aspects_are_averaged_over_images_and_questions():
    logits, teacher = torch.randn(4, 3), torch.rand(4, 3)
    p = logits.sigmoid()
    expected = -(teacher * p.log() + (1 - teacher) * (1 - p).log()).mean()
    torch.testing.assert_close(aspect_loss(logits, teacher), expected)


def test_answers_that_do_not_exist_count_for_nothing():
    logits = torch.randn(2, 2, requires_grad=True)
    teacher = torch.tensor([[0.9, math.nan], [math.nan, 0.2]])
    loss = aspect_loss(logits, teacher)
    loss.backward()
    present = torch.stack([logits[0, 0], logits[1, 1]])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(present, torch.tensor([0.9, 0.2]))
    torch.testing.assert_close(loss, expected)
    assert logits.grad is not None
    assert logits.grad[0, 1] == 0
    assert logits.grad[0, 0] != 0


def test_no_answer_at_all_costs_nothing():
    assert aspect_loss(torch.randn(2, 3), torch.full((2, 3), math.nan)) == 0
    assert aspect_loss(torch.zeros(2, 0), torch.zeros(2, 0)) == 0


def test_class_loss_ignores_the_aspect_logits():
    classes = torch.randn(2, 5)
    without = student_losses(Logits(classes, torch.zeros(2, 3)), LABELS, torch.rand(2, 3), alpha=1.0)
    huge = student_losses(Logits(classes, torch.full((2, 3), 50.0)), LABELS, torch.rand(2, 3), alpha=1.0)
    assert without["classification"] == huge["classification"]
