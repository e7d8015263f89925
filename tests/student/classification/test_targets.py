import numpy as np
import pytest

from student.classification.targets import (
    ImageLabels,
    class_mean,
    class_posterior,
    probability,
    propagated,
    propagated_by_features,
    random_uniform,
    shuffle,
    shuffle_within_class,
)

LABELS = np.repeat([0, 1, 2], 20)


@pytest.fixture
def images() -> ImageLabels:
    trained = np.ones(60, dtype=bool)
    trained[::10] = False
    return ImageLabels(labels=LABELS, trained=trained, classes=3, seed=0)


@pytest.fixture
def log_odds() -> np.ndarray:
    """Two questions that tell the classes apart but for noise, and one that says nothing."""
    means = np.array([[2.0, 2.0, 0.0], [2.0, -2.0, 0.0], [-2.0, 0.0, 0.0]])
    return means[LABELS] + np.random.default_rng(0).normal(0, 1, (60, 3))


def test_probabilities_of_log_odds(images: ImageLabels) -> None:
    values = np.array([[0.0, np.log(3), np.nan]])
    np.testing.assert_allclose(probability(values, images), [[0.5, 0.75, np.nan]])


def test_class_means_are_of_the_training_images(images: ImageLabels) -> None:
    values = np.zeros((60, 1))
    values[1], values[2], values[0] = 18.0, np.nan, 1e6
    found = class_mean(values, images)
    np.testing.assert_allclose(found[:20, 0], 18 / 17)
    assert (found[20:] == 0).all()
    values[images.labels == 2] = np.nan
    assert np.isnan(class_mean(values, images)[40:]).all()


def test_controls_keep_what_they_claim_to_keep(images: ImageLabels) -> None:
    values = np.arange(60.0)[:, None]
    within = shuffle_within_class(values, images)
    assert (LABELS[within[:, 0].astype(int)] == LABELS).all()
    anywhere = shuffle(values, images)
    assert (LABELS[anywhere[:, 0].astype(int)] == LABELS).mean() < 0.6
    for shuffled in (within, anywhere):
        assert sorted(shuffled[:, 0]) == list(values[:, 0])
        assert (shuffled[~images.trained] == values[~images.trained]).all()
        assert (shuffled != values).sum() > 30
    labels = np.where(np.arange(60) % 4 == 1, -1, LABELS)
    hidden = ImageLabels(labels=labels, trained=images.trained & (labels >= 0), classes=3, seed=0)
    assert np.array_equal(np.isnan(shuffle_within_class(values, hidden))[:, 0], labels < 0)
    assert (shuffle(values, hidden)[labels < 0] != values[labels < 0]).sum() > 10
    noise = random_uniform(values, images)
    assert noise.shape == values.shape
    assert ((noise >= 0) & (noise <= 1)).all()
    assert (random_uniform(values, images) == noise).all()


def test_the_posterior_names_the_class_and_knows_how_sure_it_is(images: ImageLabels, log_odds: np.ndarray) -> None:
    logits = class_posterior(log_odds, images)
    assert logits.shape == (60, 3)
    posterior = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    right = posterior.argmax(axis=1) == LABELS
    assert right.mean() > 0.85
    assert abs(posterior.max(axis=1).mean() - right.mean()) < 0.08


def test_no_image_is_judged_by_itself(images: ImageLabels) -> None:
    # Answers that say nothing about the class: whoever judged by the image itself would find its label in them.
    noise = np.random.default_rng(1).normal(0, 1, (60, 40))
    right = class_posterior(noise, images).argmax(axis=1) == LABELS
    assert right[images.trained].mean() < 0.55


def test_the_posterior_stands_missing_answers_and_lone_images(log_odds: np.ndarray) -> None:
    labels, trained = LABELS.copy(), np.ones(60, dtype=bool)
    labels[0] = 3  # the only image of its class
    log_odds[7, 1] = np.nan
    logits = class_posterior(log_odds, ImageLabels(labels=labels, trained=trained, classes=5, seed=0))
    assert np.isnan(logits[0]).all()  # no fit without it knows its class
    assert np.isfinite(logits[1:]).all()
    assert (logits[1:].argmax(axis=1) < 4).all()
    one_each = np.unique(LABELS, return_index=True)[1]
    few = ImageLabels(labels=np.full(60, -1), trained=np.isin(np.arange(60), one_each), classes=5, seed=0)
    few.labels[one_each] = LABELS[one_each]
    assert np.flatnonzero(np.isnan(class_posterior(log_odds, few)).all(axis=1)).tolist() == sorted(one_each)


def test_only_images_without_a_label_get_a_propagated_class(log_odds: np.ndarray) -> None:
    labels = np.where(np.arange(60) % 20 == 5, LABELS, -1)
    labels[6] = LABELS[6]  # of the validation
    trained = np.arange(60) % 20 == 5
    images = ImageLabels(labels=labels, trained=trained, classes=3, seed=0)
    log_odds[7] = np.nan
    found = propagated(log_odds, images)
    expected = labels < 0
    expected[7] = False
    assert (~np.isnan(found).any(axis=1) == expected).all()
    assert (found.argmax(axis=1) == LABELS)[expected].mean() > 0.8
    assert np.isnan(propagated_by_features(log_odds, images)).all()


def test_features_name_images_without_answers(log_odds: np.ndarray) -> None:
    labels = np.where(np.arange(60) % 20 == 5, LABELS, -1)
    silent = np.full_like(log_odds, np.nan)
    images = ImageLabels(labels=labels, trained=labels >= 0, classes=3, seed=0, features=log_odds)
    for found in (propagated(silent, images), propagated_by_features(silent, images)):
        assert (found.argmax(axis=1) == LABELS)[labels < 0].mean() > 0.8


def test_validation_images_have_no_part_in_propagation(log_odds: np.ndarray) -> None:
    labels = np.where(np.arange(60) % 20 < 10, LABELS, -1)
    trained = np.arange(60) % 20 < 5
    images = ImageLabels(labels=labels, trained=trained, classes=3, seed=0)
    before = propagated(log_odds, images)
    log_odds[~trained & (labels >= 0)] = 100.0
    np.testing.assert_array_equal(propagated(log_odds, images), before)
