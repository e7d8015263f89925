"""Images are matched with classes by answers to the same questions."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.special import expit, logit

from storage.datasets import FileDataset
from storage.questions import AspectQuestion, QuestionSet
from student.classification.class_matching import SCALE, class_log_odds, match_classes
from tests.student.conftest import QUESTIONS, answers_for

CLASSES = np.array([[0.9, 0.1, 0.1], [0.2, 0.8, 0.1], [0.2, 0.3, 0.9]])


def scenes(noise: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds about 300 images [300, 3] of the three classes, and the classes of these images."""
    truth = np.repeat(np.arange(3), 100)
    return logit(CLASSES)[truth] + np.random.default_rng(0).normal(0, noise, (300, 3)), truth


def test_images_are_matched_with_the_class_of_their_answers() -> None:
    images, truth = scenes()
    found = match_classes(images, logit(CLASSES))
    assert found.shape == (300, 3)
    assert (found.argmax(axis=1) == truth).mean() > 0.9
    assert np.abs(found).max() <= SCALE + 1e-5


def test_an_image_with_the_answers_of_a_class_has_the_cosine_of_one() -> None:
    log_odds = np.array([[2.0], [-2.0]])
    np.testing.assert_allclose(match_classes(log_odds, log_odds), [[SCALE, -SCALE], [-SCALE, SCALE]], rtol=1e-5)


def test_teachers_that_say_yes_more_or_less_often_are_calibrated() -> None:
    images, truth = scenes()
    biased = logit(expit(images) * [0.3, 1.0, 1.0])  # this question is rarely answered by yes about images
    assert (match_classes(biased, logit(CLASSES)).argmax(axis=1) == truth).mean() > 0.9


def test_a_question_with_the_same_answer_for_all_classes_or_images_says_nothing() -> None:
    images, truth = scenes()
    noise = np.random.default_rng(1).normal(size=(300, 20))
    same = np.full((3, 20), 2.0) + np.random.default_rng(2).normal(0, 0.01, (3, 20))
    found = match_classes(np.hstack([images, noise]), np.hstack([logit(CLASSES), same]))
    assert (found.argmax(axis=1) == truth).mean() > 0.9
    constant = match_classes(np.hstack([images, np.full((300, 1), 3.0)]), np.hstack([logit(CLASSES), [[5], [-5], [0]]]))
    assert (constant.argmax(axis=1) == truth).mean() > 0.9


def test_missing_answers_say_nothing() -> None:
    images, _ = scenes()
    images[0] = np.nan
    images[1, 2] = np.nan
    classes = logit(CLASSES)
    classes[1] = np.nan
    found = match_classes(images, classes)
    assert (found[0, [0, 2]] == 0).all()
    assert np.isnan(found[:, 1]).all()
    assert np.isfinite(found[:, [0, 2]]).all()


@pytest.mark.parametrize(
    ("questions", "columns"),
    [
        (QUESTIONS, [0, 1]),
        (QuestionSet(QUESTIONS.questions[::-1]), [1, 0]),
        (QuestionSet((AspectQuestion(key="warm", text="Is it of a warm colour?"),)), [0]),  # the text counts
        (QuestionSet((AspectQuestion(key="is_leafy", text="Is it green?"),)), [1]),  # else the key
        (QuestionSet((AspectQuestion(key="is_round", text="Is it round?"), QUESTIONS.questions[1])), [-1, 1]),
    ],
)
def test_answers_about_classes_are_found_by_name_and_question(
    dataset: FileDataset, questions: QuestionSet, columns: list[int]
) -> None:
    gaps = np.array([[2.0, -1.0], [-2.0, 1.0], [0.5, -3.0], [np.nan, np.nan]], dtype=np.float32)
    gap = gaps[[record.label for record in dataset.records]]
    gap[0] = np.nan  # the first row of its class has no answer
    answers = dataclasses.replace(answers_for(dataset), yes=gap, no=np.zeros_like(gap), level="class")
    names = (*dataset.class_names, "unknown")
    expected = np.hstack([gaps, np.full((4, 1), np.nan)])[:, columns]
    np.testing.assert_array_equal(class_log_odds(answers, names, questions), expected)
