from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import log_softmax

from student.classification.label_noise import Pooled, Source, even_noise, pool, wrong_probability

CLASSES = 5


def pooled_of(sources: dict[str, NDArray[np.float64]], labels: NDArray[np.int64]) -> Pooled:
    return pool({name: Source.of(log_p) for name, log_p in sources.items()}, labels, CLASSES)


def wrong_of(pooled: Pooled) -> NDArray[np.float64]:
    """The probability of being wrong of all images."""
    rows = np.arange(len(pooled.labels_N))
    return pooled.wrong(rows, pooled.log_p(rows))


def planted(
    share: float, *, images: int = 4000, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
    """log p(class) of a calibrated source [N, C], labels drawn from it with `share` of them wrong, and which [N]."""
    generator = np.random.default_rng(seed)
    log_p = log_softmax(generator.normal(0, 4, (images, CLASSES)), axis=1)
    truth = np.array([generator.choice(CLASSES, p=row) for row in np.exp(log_p)])
    wrong = generator.random(images) < share
    others = (truth + generator.integers(1, CLASSES, images)) % CLASSES
    return log_p, np.where(wrong, others, truth), wrong


@pytest.mark.parametrize(
    ("p_label", "wrong"), [(0.5, 0.5 * 0.1 / (0.5 * 0.1 + 0.5 * 0.9)), (1.0, 0.0), (0.0, 1.0), (0.9, 0.01 / 0.82)]
)
def test_a_label_is_wrong_by_the_rule_of_bayes(p_label: float, wrong: float) -> None:
    p = np.array([[p_label, 1 - p_label]])
    assert wrong_probability(p, np.array([0]), even_noise(0.1, 2)) == pytest.approx([wrong])


def test_labels_that_are_often_mistaken_for_one_another_are_suspected_sooner() -> None:
    log_p, _, _ = planted(0.0)
    truth = log_p.argmax(axis=1)
    mistaken = (truth == 0) & (np.random.default_rng(2).random(len(truth)) < 0.3)
    labels = np.where(mistaken, 1, truth)
    undecided = np.log(np.array([[0.5, 0.5, 0, 0, 0], [0, 0.5, 0.5, 0, 0]]) + 1e-9)
    pooled = pooled_of({"answers": np.concatenate([log_p, undecided])}, np.concatenate([labels, [1, 1]]))
    first, second = wrong_of(pooled)[-2:]
    assert first > 2 * second


def test_the_scale_of_a_source_makes_no_difference() -> None:
    log_p, labels, _ = planted(0.1, images=200)
    plain, weak = (pooled_of({"answers": scale * log_p}, labels) for scale in (1.0, 0.25))
    assert 4 * plain.weights["answers"] == pytest.approx(weak.weights["answers"], rel=0.1)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3])
def test_the_share_of_wrong_labels_is_estimated_and_probabilities_are_calibrated(share: float) -> None:
    log_p, labels, wrong = planted(share)
    pooled = pooled_of({"answers": log_p * 0.5}, labels)  # half as sure as it could be
    wrong_N = wrong_of(pooled)
    assert wrong_N.mean() == pytest.approx(share, abs=0.02)
    assert pooled.weights["answers"] == pytest.approx(2.0, rel=0.1)
    assert wrong_N.mean() == pytest.approx(wrong.mean(), abs=0.02)
    sure = wrong_N > 0.9
    assert not sure.any() or wrong[sure].mean() > 0.9


def test_a_source_without_information_gets_little_weight() -> None:
    log_p, labels, _ = planted(0.1)
    noise = log_softmax(np.random.default_rng(1).normal(0, 4, log_p.shape), axis=1)
    weights = pooled_of({"answers": log_p, "student": noise}, labels).weights
    assert weights["answers"] == pytest.approx(1.0, rel=0.1)
    assert weights["student"] < 0.05


def test_images_of_one_source_are_judged_by_it_and_images_of_none_are_not() -> None:
    log_p, labels, _ = planted(0.1, images=50)
    first, second = log_p.copy(), log_p.copy()
    first[:2], second[1:3] = np.nan, np.nan
    labels[3] = -1
    pooled = pooled_of({"answers": first, "student": second}, labels)
    assert np.flatnonzero(~pooled.judged).tolist() == [1, 3]
    assert np.flatnonzero(np.isnan(wrong_of(pooled))).tolist() == [1, 3]
    log_p_NC = pooled.log_p(np.arange(50))
    assert log_p_NC[1] == pytest.approx(np.log(1 / CLASSES))
    weight = pooled.weights["student"]
    assert log_p_NC[0] == pytest.approx(log_softmax(weight * log_p[0]))
