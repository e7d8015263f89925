"""Choosing questions: what tells the classes apart together stays, whatever it tells alone."""

from __future__ import annotations

import numpy as np
import pytest

from teacher.questions.selection import leave_one_out_error, select_questions


def coins(images: int, count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, (images, count)).astype(np.float64)


def test_answers_that_tell_the_class_only_together_are_kept() -> None:
    answers = coins(200, 8)
    labels = [f"{int(a != b)}{int(c)}" for a, b, c in answers[:, [1, 4, 6]]]
    assert select_questions(answers, labels, 3) == [1, 4, 6]


def test_of_two_copies_one_is_given_up() -> None:
    answers = coins(150, 3)
    labels = [f"{int(a)}{int(b)}{int(c)}" for a, b, c in answers]
    kept = select_questions(np.concatenate([answers, answers[:, :1], 1 - answers[:, 1:2]], axis=1), labels, 3)
    assert {column % 3 for column in kept} == {0, 1, 2}


def test_a_small_set_is_kept_whole_and_a_large_one_comes_down_to_the_count() -> None:
    answers = coins(60, 40)
    labels = [str(int(a)) for a in answers[:, 17]]
    assert select_questions(answers[:, :5], labels, 7) == [0, 1, 2, 3, 4]
    kept = select_questions(answers, labels, 4)
    assert len(kept) == 4
    assert 17 in kept
    assert kept == sorted(kept)


def test_the_closed_form_is_what_leaving_each_image_out_gives() -> None:
    values = 2 * coins(24, 5, seed=3) - 1
    labels = np.random.default_rng(1).integers(0, 3, 24)
    products = values @ values.T
    ridges = np.geomspace(1e-3, 1e2, 11)
    kernel = (1 + products / 5) ** 2
    centred = kernel - kernel.mean(axis=0) - kernel.mean(axis=1)[:, None] + kernel.mean()
    ridge_scale = np.linalg.eigvalsh(centred).clip(0).mean()
    targets = np.eye(3)[labels]
    expected = []
    for ridge in ridges * ridge_scale:
        # Kernel ridge regression with a mean of its own, solved anew without each image.
        squares = []
        for left_out in range(24):
            kept = np.delete(np.arange(24), left_out)
            system = np.block(
                [[kernel[np.ix_(kept, kept)] + ridge * np.eye(23), np.ones((23, 1))], [np.ones((1, 23)), 0]]
            )
            solved = np.linalg.solve(system, np.vstack([targets[kept], np.zeros((1, 3))]))
            predicted = kernel[left_out, kept] @ solved[:-1] + solved[-1]
            squares.append((predicted - targets[left_out]) ** 2)
        expected.append(np.mean(squares))
    assert leave_one_out_error(products, 5, labels) == pytest.approx(min(expected), rel=1e-6)
