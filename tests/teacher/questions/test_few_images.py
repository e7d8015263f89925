"""Choosing questions by few images: what tells the classes apart together is found among many others."""

from __future__ import annotations

import numpy as np
import pytest

from teacher.questions.few_images import choose_questions, class_directions, unexplained_classes
from tests.teacher.questions.test_selection import coins


def test_answers_that_tell_the_class_only_together_are_kept() -> None:
    answers = coins(100, 8)
    labels = [f"{int(a != b)}{int(c)}" for a, b, c in answers[:, [1, 4, 6]]]
    assert choose_questions(answers, labels, 3) == [1, 4, 6]


def test_of_two_copies_one_is_given_up() -> None:
    answers = coins(80, 3)
    labels = [f"{int(a)}{int(b)}{int(c)}" for a, b, c in answers]
    kept = choose_questions(np.concatenate([answers, answers[:, :1], 1 - answers[:, 1:2]], axis=1), labels, 3)
    assert {column % 3 for column in kept} == {0, 1, 2}


def test_a_small_set_is_kept_whole_and_one_class_or_answer_is_no_error() -> None:
    answers = coins(12, 4)
    assert choose_questions(answers, ["a", "b"] * 6, 4) == [0, 1, 2, 3]
    assert len(choose_questions(answers, ["a"] * 12, 2)) == 2
    assert len(choose_questions(np.ones((12, 4)), ["a", "b"] * 6, 2)) == 2


def test_the_closed_form_is_what_leaving_each_image_out_gives() -> None:
    values = 2 * coins(24, 5, seed=3) - 1
    values -= values.mean(axis=0)
    targets = class_directions(np.random.default_rng(1).integers(0, 3, 24))
    products = values @ values.T
    kernel = (1 + products / np.diag(products).mean()) ** 8
    expected = []
    for ridge in np.array([0.01, 0.1, 1.0]) * np.diag(kernel).mean():
        # Kernel ridge regression, solved anew without each image.
        left = np.empty_like(targets)
        for image in range(24):
            kept = np.delete(np.arange(24), image)
            solved = np.linalg.solve(kernel[np.ix_(kept, kept)] + ridge * np.eye(23), targets[kept])
            left[image] = targets[image] - kernel[image, kept] @ solved
        expected.append(np.log(np.linalg.det(left.T @ left / 24 + 0.05 * np.eye(2))))
    assert unexplained_classes(products, targets) == pytest.approx(min(expected), rel=1e-6)


def test_directions_between_classes_are_uncorrelated_and_as_many_as_the_classes_less_one() -> None:
    labels = np.array([0, 0, 0, 1, 2, 2, 3, 3])
    directions = class_directions(labels)
    assert directions.shape == (8, 3)
    assert directions.T @ directions / 8 == pytest.approx(np.eye(3))
    assert directions.mean(axis=0) == pytest.approx(np.zeros(3))
    assert class_directions(np.zeros(8, np.int64)).shape == (8, 0)


def combined(images: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Answers to 20 questions, and 12 classes: a colour on a ground, one of 3 x 3, makes three clans; three numbers and
    a frame."""
    generator = np.random.default_rng(seed)
    colour, ground, number, frame = (generator.integers(0, size, images) for size in (3, 3, 2, 2))
    informative = np.column_stack([*np.eye(3)[:, colour], *np.eye(3)[:, ground], number, frame])
    answers = np.concatenate([informative, coins(images, 12, seed + 100)], axis=1)
    labels = [
        f"{(one + other) % 3} {two} {three}"
        for one, other, two, three in zip(colour, ground, number, frame, strict=True)
    ]
    return answers, labels


def test_a_few_images_are_enough_for_combinations_that_pairs_of_answers_do_not_show() -> None:
    for seed in range(2):
        assert choose_questions(*combined(48, seed), 8) == list(range(8))
