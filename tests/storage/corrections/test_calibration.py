"""Platt calibration of p(yes) from the corrected sample."""

from __future__ import annotations

import numpy as np

from storage.corrections.calibration import fit_calibration
from storage.corrections.queue import Queue
from storage.statistics import calibration_error
from tests.storage.corrections.samples import answer, answers, checked, current


def test_without_corrections_p_yes_stays() -> None:
    given = answers(np.random.default_rng(0).normal(0, 3, (20, 3)))
    found = fit_calibration(Queue.of(given), current())
    assert found.corrected == 0
    np.testing.assert_array_equal((found.slopes, found.offsets), ([1, 1, 1], [0, 0, 0]))
    np.testing.assert_allclose(found.apply(given).p_yes, given.p_yes, atol=1e-6)


def test_answers_that_a_person_chose_are_not_fitted() -> None:
    given = answers(np.random.default_rng(0).normal(0, 3, (20, 3)))
    queue = Queue.of(given)
    last = queue.next_items(current(), 60)[-1]
    assert fit_calibration(queue, current(answer(last.image_id, "yes", last.key))).corrected == 0


def test_an_overconfident_teacher_is_calibrated() -> None:
    """The truth follows half of the log-odds, and minus 1 for one question; a sample of a fifth finds it."""
    generator = np.random.default_rng(2)
    offsets = np.array([0, -1, 0])
    honest = generator.normal(0, 1.5, (1500, 3)) + offsets
    truth = generator.random((1500, 3)) < 1 / (1 + np.exp(-honest))
    given = answers(2 * (honest - offsets))
    queue = Queue.of(given)
    found = fit_calibration(queue, checked(queue, truth, 900))
    assert found.corrected == 900
    np.testing.assert_allclose(found.slopes, 0.5, atol=0.15)
    np.testing.assert_allclose(found.offsets, offsets, atol=0.35)
    calibrated = found.apply(given)
    for column in range(3):
        before = calibration_error(given.p_yes[:, column], truth[:, column])
        assert calibration_error(calibrated.p_yes[:, column], truth[:, column]) < before - 0.05
    np.testing.assert_allclose(np.exp(calibrated.yes) + np.exp(calibrated.no), 1, atol=1e-6)


def test_a_question_with_few_corrections_keeps_the_common_calibration() -> None:
    generator = np.random.default_rng(3)
    honest = generator.normal(0, 2, (300, 3))
    truth = generator.random((300, 3)) < 1 / (1 + np.exp(-honest))
    given = answers(3 * honest)
    queue = Queue.of(given)
    found = fit_calibration(queue, checked(queue, truth, 200))
    assert (found.slopes < 0.7).all()
    assert (found.slopes > 0).all()
