from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from teacher.extraction.budget.model import AnswerModel, fit_model

IMAGES, QUESTIONS, CLASSES = 400, 12, 5


def draw(seed: int = 0, noise: float = 0.02) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """p(yes) of rank 2 and an effect of the class, with noise."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, IMAGES)
    factors, weights = random.normal(size=(IMAGES, 2)), 0.1 * random.normal(size=(2, QUESTIONS))
    effects = 0.1 * random.normal(size=(CLASSES, QUESTIONS))
    p_yes = 0.5 + effects[labels] + factors @ weights + noise * random.normal(size=(IMAGES, QUESTIONS))
    return p_yes.clip(0, 1), labels


def error(model: AnswerModel, p_yes: NDArray[np.float64], labels: NDArray[np.int64], known: NDArray[np.bool_]) -> float:
    found = model.predict(np.where(known, p_yes, np.nan), labels)
    assert found.dtype == np.float32
    assert ((found >= 0) & (found <= 1)).all()
    return float(np.abs(found - p_yes)[~known].mean())


def test_unknown_answers_are_predicted_from_the_others_of_the_image_and_from_its_class() -> None:
    p_yes, labels = draw()
    known = np.random.default_rng(1).random(p_yes.shape) < 0.5
    values = np.where(known, p_yes, np.nan)
    by_both = error(fit_model(values, labels, CLASSES), p_yes, labels, known)
    unlabelled = np.full(IMAGES, -1)
    by_others = error(fit_model(values, unlabelled, 0), p_yes, unlabelled, known)
    by_question = float(np.abs(np.nanmean(values, axis=0) - p_yes)[~known].mean())
    assert by_both < 0.032  # the noise alone gives 0.016
    assert by_both < by_others < 0.6 * by_question


def test_an_image_without_answers_gets_the_mean_of_its_class() -> None:
    p_yes, labels = draw()
    values = p_yes.copy()
    values[:100] = np.nan
    found = fit_model(values, labels, CLASSES).predict(values, labels)
    for label in range(CLASSES):
        rows = np.flatnonzero(labels[:100] == label)
        mean = values[100:][labels[100:] == label].mean(axis=0)
        np.testing.assert_allclose(found[rows], np.tile(mean, (len(rows), 1)), atol=0.05)


@pytest.mark.parametrize("images", [1, 2, 400])
def test_few_images_and_unlabelled_ones_are_fitted_too(images: int) -> None:
    p_yes, labels = draw()
    labels = np.where(np.arange(IMAGES) % 2, labels, -1)[:images]
    found = fit_model(p_yes[:images], labels, CLASSES).predict(np.full((images, QUESTIONS), np.nan), labels)
    assert np.isfinite(found).all()


def test_the_covariance_is_the_one_of_the_answers() -> None:
    random = np.random.default_rng(0)
    weights, noise = 0.05 * random.normal(size=(2, 4)), np.array([0.02, 0.03, 0.05, 0.02])
    p_yes = 0.5 + random.normal(size=(5000, 2)) @ weights + noise * random.normal(size=(5000, 4))
    model = fit_model(p_yes, np.full(5000, -1), 0)
    np.testing.assert_allclose(model.covariance(), np.cov(p_yes.T), atol=1e-3)
