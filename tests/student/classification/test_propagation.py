"""Label propagation from a few labelled images to the others."""

from __future__ import annotations

import numpy as np
import pytest

from student.classification.propagation import IMPOSSIBLE, _cosines, propagate_labels, whiten

CLASSES, EACH = 5, 40
TRUTH = np.repeat(np.arange(CLASSES), EACH)


def described(noise: float, dimensions: int, seed: int) -> np.ndarray:
    """Descriptions of the images of five classes [200, dimensions]: a class's own point, and noise."""
    generator = np.random.default_rng(seed)
    points = generator.normal(size=(CLASSES, dimensions))
    return points[TRUTH] + generator.normal(0, noise, (len(TRUTH), dimensions))


def one_label_each() -> np.ndarray:
    return np.where(np.arange(len(TRUTH)) % EACH == 0, TRUTH, -1)


def right(found: np.ndarray, labels: np.ndarray) -> float:
    hidden = labels < 0
    return float((found.argmax(axis=1) == TRUTH)[hidden].mean())


def test_classes_are_found_from_one_label_each() -> None:
    labels = one_label_each()
    found = propagate_labels([described(0.5, 10, 0)], labels, CLASSES)
    assert found.shape == (len(TRUTH), CLASSES)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, rtol=1e-4)
    assert right(found, labels) > 0.95


def test_two_descriptions_find_more_than_either() -> None:
    labels = one_label_each()
    answers, features = described(1.5, 10, 1), described(1.5, 10, 2)
    alone = [right(propagate_labels([values], labels, CLASSES), labels) for values in (answers, features)]
    assert right(propagate_labels([answers, features], labels, CLASSES), labels) > max(alone) + 0.1


def test_rounds_use_the_images_without_a_label(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, values = one_label_each(), described(1.2, 10, 3)
    many = right(propagate_labels([values], labels, CLASSES), labels)
    monkeypatch.setattr("student.classification.propagation.ROUNDS", 1)
    assert many > right(propagate_labels([values], labels, CLASSES), labels) + 0.1


def test_scale_and_place_of_a_description_do_not_matter() -> None:
    labels, values = one_label_each(), described(1.0, 10, 4)
    found = propagate_labels([values], labels, CLASSES)
    moved = propagate_labels([1000 + 7 * values], labels, CLASSES)
    assert (found.argmax(axis=1) == moved.argmax(axis=1)).mean() > 0.99


def test_missing_values_and_classes_without_a_label() -> None:
    labels, values = one_label_each(), described(0.5, 10, 0)
    labels[labels == 4] = -1
    values[3] = np.nan
    values[5, 2] = np.nan
    found = propagate_labels([values], labels, CLASSES)
    assert np.isfinite(found).all()
    assert (found[:, 4] == IMPOSSIBLE).all()
    np.testing.assert_allclose(np.exp(found[3, :4]), 0.25, rtol=1e-4)


def test_a_single_image_and_constant_values() -> None:
    found = propagate_labels([np.ones((3, 2)), np.zeros((3, 0))], np.array([0, 1, -1]), 2)
    np.testing.assert_allclose(np.exp(found[2]), 0.5)


def test_without_a_label_there_is_nothing_to_propagate() -> None:
    with pytest.raises(ValueError, match="no image has a label"):
        propagate_labels([described(1.0, 3, 0)], np.full(len(TRUTH), -1), CLASSES)


def matched(weight: float, seed: int = 0) -> np.ndarray:
    """Log-probabilities by answers about the classes [200, 5]: those of the right class are `weight` higher, and
    noise."""
    noise = np.random.default_rng(seed).normal(size=(len(TRUTH), CLASSES))
    return weight * np.eye(CLASSES)[TRUTH] + noise


def test_answers_about_classes_take_the_place_of_labels() -> None:
    labels, given = np.full(len(TRUTH), -1), matched(1.5)
    found = propagate_labels([described(0.8, 10, 3)], labels, CLASSES, given)
    assert (given.argmax(axis=1) == TRUTH).mean() < 0.8
    assert right(found, labels) > 0.9


def test_a_class_has_answers_or_a_label_or_neither() -> None:
    labels, given = one_label_each(), matched(3.0)
    labels[labels >= 2] = -1
    given[:, [0, 1, 4]] = np.nan  # two classes have a label each, two have answers, one has neither
    found = propagate_labels([described(0.3, 10, 0)], labels, CLASSES, given)
    assert (found[:, 4] == IMPOSSIBLE).all()
    for label in range(4):
        assert (found[label == TRUTH].argmax(axis=1) == label).mean() > 0.9


def test_leave_one_out_leaves_an_image_out_of_the_mean_it_is_compared_with() -> None:
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(6, 3)).astype(np.float32)
    shares = generator.dirichlet((1.0, 1.0), 6).astype(np.float32)
    found = _cosines(rows, shares, leave_one_out=True)
    for image in range(6):
        others = np.arange(6) != image
        means = shares[others].T @ rows[others]
        expected = means @ rows[image] / np.linalg.norm(means, axis=1)
        np.testing.assert_allclose(found[image], expected, rtol=1e-4, atol=1e-5)


def test_whitened_rows_have_length_one_and_no_correlation() -> None:
    values = described(1.0, 6, 5) @ np.diag([1, 10, 100, 1, 1, 1])
    rows = whiten(values)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    correlation = np.corrcoef(rows.T)
    assert np.abs(correlation - np.eye(len(correlation))).max() < 0.2
