from __future__ import annotations

import math

import numpy as np
import pytest

from student.classification.evidence import evidence

MEANS = np.array([[0.9, 0.8], [0.1, 0.8]])  # of two classes and two questions


def test_an_answer_speaks_for_the_class_that_it_is_frequent_in() -> None:
    p_yes = np.array([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    found = evidence(p_yes, np.array([0, 0, 1]), MEANS)
    assert found[:, 0] == pytest.approx([math.log(0.9 / 0.5), math.log(0.1 / 0.5), math.log(0.1 / 0.5)])
    assert found[:, 1] == pytest.approx(0.0)


def test_an_undecided_answer_is_between_yes_and_no() -> None:
    yes, no, both = evidence(np.array([[1.0, 1], [0, 1], [0.25, 1]]), np.zeros(3, dtype=np.int64), MEANS)[:, 0]
    assert both == pytest.approx(0.25 * yes + 0.75 * no)


def test_means_of_0_and_1_and_unknown_ones_are_finite_or_nothing() -> None:
    means = np.array([[1.0, np.nan], [0.0, np.nan]])
    found = evidence(np.array([[0.0, 0.5]]), np.array([0]), means)
    assert found[0, 0] == pytest.approx(math.log(0.01 / 0.5))
    assert np.isnan(found[0, 1])
