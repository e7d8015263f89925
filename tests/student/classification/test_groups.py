"""Soft groups of training images, and the weights that balance them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional

from storage.answers.read import Answers
from storage.datasets import FileDataset
from storage.datasets.base import select
from storage.questions import QuestionsInvalid
from student.classification.config import StudentConfig
from student.classification.examples import Examples, TeacherAnswers, fit_to_answers, join_examples
from student.classification.groups import GroupBalance, soft_groups
from student.classification.methods import method_named
from student.classification.model import Logits
from student.classification.objective import Objective
from student.classification.targets import ImageLabels
from student.core.examples import ExamplesInvalid
from student.core.setting_errors import ConfigInvalid

CPU = torch.device("cpu")
# Three of class 0, one of them in its group of yes, and two of class 1, both no.
HARD = torch.tensor([[1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0.0]])


def labels_of(*labels: int, trained: list[bool] | None = None) -> ImageLabels:
    mask = np.array(trained or [label >= 0 for label in labels])
    return ImageLabels(labels=np.array(labels), trained=mask, classes=2, seed=0)


def log_odds(*p_yes: float) -> np.ndarray:
    p = np.array(p_yes, dtype=np.float32)
    return np.log(p / (1 - p))[:, None]


def test_an_image_is_in_both_groups_of_its_class_by_p_yes() -> None:
    members = soft_groups(log_odds(0.25, 0.75, 0.9, 0.1), labels_of(0, 0, 1, 1))
    np.testing.assert_allclose(
        members, [[0.75, 0.25, 0, 0], [0.25, 0.75, 0, 0], [0, 0, 0.1, 0.9], [0, 0, 0.9, 0.1]], atol=1e-6
    )


def test_hidden_labels_and_validation_images_are_in_no_group() -> None:
    trained = [True, True, False, False]
    members = soft_groups(log_odds(0.3, 0.7, 0.3, 0.3), labels_of(0, 0, -1, 1, trained=trained))
    np.testing.assert_allclose(members, [[0.7, 0.3, 0, 0], [0.3, 0.7, 0, 0], [0.0] * 4, [0.0] * 4], atol=1e-6)


def test_the_mean_of_the_class_stands_for_a_missing_answer() -> None:
    odds = log_odds(0.4, 0.6, 0.7, 0.5, 0.5, 0.5)
    odds[3:] = np.nan
    members = soft_groups(odds, labels_of(0, 0, 0, 0, 1, 1))
    mean = 1.7 / 3
    np.testing.assert_allclose(members[3], [1 - mean, mean, 0, 0], atol=1e-6)
    np.testing.assert_allclose(members[4:], [[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.5]], atol=1e-6)


def test_each_question_has_groups_of_its_own() -> None:
    odds = np.concatenate([log_odds(0.2, 0.8, 0.5), log_odds(0.7, 0.1, 0.4)], axis=1)
    members = soft_groups(odds, labels_of(1, 1, 1))
    np.testing.assert_allclose(members[0], [0, 0, 0.8, 0.2, 0, 0, 0.3, 0.7], atol=1e-6)


def test_a_group_of_less_than_an_image_joins_the_other_one_of_its_class() -> None:
    members = soft_groups(log_odds(0.1, 0.2, 0.9, 0.5), labels_of(0, 0, 1, -1))
    np.testing.assert_allclose(members, [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]], atol=1e-6)


def test_groups_start_with_equal_weights_and_an_empty_one_has_none() -> None:
    torch.testing.assert_close(GroupBalance(HARD, CPU).weights, torch.tensor([1 / 3, 1 / 3, 1 / 3, 0]))


def test_without_any_label_nothing_is_balanced() -> None:
    balance = GroupBalance(torch.zeros(3, 4), CPU)
    balance.record(torch.arange(3), torch.ones(3))
    balance.update(lambda total: total)
    assert balance.image_weights(torch.arange(3)).tolist() == [0, 0, 0]


def test_the_weights_of_images_stand_for_the_mean_over_groups() -> None:
    balance = GroupBalance(HARD, CPU)
    losses = torch.tensor([1.0, 2.0, 3.0, 4.0, 6.0])
    weights = balance.image_weights(torch.arange(5))
    torch.testing.assert_close(weights.mean(), torch.tensor(1.0))
    torch.testing.assert_close((weights * losses).mean(), torch.tensor((1.5 + 3 + 5) / 3))


def test_the_weight_of_a_group_grows_with_its_loss() -> None:
    whole, split = GroupBalance(HARD, CPU, step=0.5), GroupBalance(HARD, CPU, step=0.5)
    losses = torch.tensor([1.0, 2.0, 3.0, 4.0, 6.0])
    whole.record(torch.arange(5), losses)
    whole.update(lambda total: total)
    grown = torch.tensor([1.5, 3.0, 5.0]).mul(0.5).exp()
    torch.testing.assert_close(whole.weights, torch.cat([grown / grown.sum(), torch.zeros(1)]))
    # Two batches of one update, on one of two devices that have seen the same.
    split.record(torch.tensor([0, 3]), losses[[0, 3]])
    split.record(torch.tensor([1, 2, 4]), losses[[1, 2, 4]])
    split.update(lambda total: 2 * total)
    torch.testing.assert_close(split.weights, whole.weights)


def test_the_labels_loss_is_balanced_and_other_losses_are_not() -> None:
    torch.manual_seed(0)
    targets, labels = torch.rand(5, 2), torch.tensor([0, 0, 0, 1, 1])
    examples = Examples(
        train_indices=torch.arange(5), val_indices=torch.arange(0), labels_N=labels, targets=(targets,), aspects=()
    )
    logits = Logits(torch.randn(5, 2), torch.randn(5, 2))
    balance = GroupBalance(HARD, CPU)
    plain = Objective(method=method_named("makd"), examples=examples)
    losses = dataclasses.replace(plain, balance=balance)(logits, torch.arange(5))
    each = functional.cross_entropy(logits.class_logits_BC, labels, reduction="none")
    expected = (each[:2].mean() + each[2] + each[3:].mean()) / 3
    torch.testing.assert_close(losses["classification"], expected)
    torch.testing.assert_close(losses["aspects"], plain(logits, torch.arange(5))["aspects"])
    torch.testing.assert_close(
        balance.losses_G, 5 * torch.stack([each[:2].mean(), each[2], each[3:].mean(), expected * 0])
    )


def test_examples_have_groups_where_they_are_balanced(
    config: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers
) -> None:
    records = select(dataset, ("train",))
    assert join_examples(config, dataset, records, teacher_answers).groups is None
    balanced = fit_to_answers(config.replace(balance="Is it of a warm colour?", method="base"), teacher_answers)
    assert balanced.balance == ("is_warm",)
    examples = join_examples(balanced, dataset, records, teacher_answers)
    assert examples.groups is not None
    assert (examples.targets, examples.groups.shape) == ((), (24, 6)), "three classes, no and yes"
    torch.testing.assert_close(examples.groups.sum(dim=1)[examples.train_indices], torch.ones(18))
    assert examples.groups[examples.val_indices].sum() == 0


def test_balancing_needs_answers_about_images(
    config: StudentConfig, dataset: FileDataset, answers: Answers, teacher_answers: TeacherAnswers
) -> None:
    balanced = config.replace(balance="is_wram")
    with pytest.raises(QuestionsInvalid, match="no question has the key or text 'is_wram'; did you mean 'is_warm'"):
        fit_to_answers(balanced, teacher_answers)
    with pytest.raises(ExamplesInvalid, match="balance needs answers about the training images, and there are none"):
        fit_to_answers(balanced, TeacherAnswers())
    with pytest.raises(ExamplesInvalid, match="and they are about classes"):
        fit_to_answers(balanced, TeacherAnswers(classes=answers))
    for other in ({"class_weights": "balanced"}, {"sampler": "balanced"}, {"mixup": 0.2}, {"cutmix": 1.0}):
        with pytest.raises(ConfigInvalid, match=f"balance weighs images by their groups, and {next(iter(other))} is"):
            config.replace(balance="is_warm", **other)
