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
    members = soft_groups(log_odds(0.25, 0.9), labels_of(0, 1))
    np.testing.assert_allclose(members, [[0.75, 0.25, 0, 0], [0, 0, 0.1, 0.9]], atol=1e-6)


def test_hidden_labels_and_validation_images_are_in_no_group() -> None:
    members = soft_groups(log_odds(0.3, 0.3, 0.3), labels_of(0, -1, 1, trained=[True, False, False]))
    np.testing.assert_allclose(members, [[0.7, 0.3, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]], atol=1e-6)


def test_the_mean_of_the_class_stands_for_a_missing_answer() -> None:
    odds = log_odds(0.2, 0.6, 0.5, 0.5)
    odds[2:] = np.nan
    members = soft_groups(odds, labels_of(0, 0, 0, 1))
    np.testing.assert_allclose(members[2:], [[0.6, 0.4, 0, 0], [0, 0, 0.5, 0.5]], atol=1e-6)


def test_each_question_has_groups_of_its_own() -> None:
    members = soft_groups(np.concatenate([log_odds(0.2), log_odds(0.7)], axis=1), labels_of(1))
    np.testing.assert_allclose(members, [[0, 0, 0.8, 0.2, 0, 0, 0.3, 0.7]], atol=1e-6)


def test_groups_start_with_equal_weights_and_an_empty_one_has_none() -> None:
    balance = GroupBalance(HARD, CPU)
    torch.testing.assert_close(balance.weights_G, torch.tensor([1 / 3, 1 / 3, 1 / 3, 0]))
    few = GroupBalance(torch.tensor([[0.95, 0.05], [0.95, 0.05], [1, 0]]), CPU)
    assert few.weights_G.tolist() == [1, 0], "a tenth of an image is no group"
