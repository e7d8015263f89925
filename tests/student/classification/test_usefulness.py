import dataclasses

import numpy as np
import pytest

from storage.answers.read import Answers
from storage.datasets import FileDataset
from storage.questions import AspectQuestion, QuestionSet
from student.classification import usefulness
from student.classification.targets import ImageLabels
from student.classification.usefulness import answers_bits, answers_uses, posterior_bits, question_uses

LABELS = np.repeat(np.arange(4), 30)
LABELLED = ImageLabels(labels=LABELS, trained=np.ones(120, dtype=bool), classes=4, seed=0)
KEYS = ("first_bit", "second_bit", "second_bit_again", "noise")
QUESTIONS = QuestionSet(tuple(AspectQuestion(key=key, text=f"{key}?", group="bits") for key in KEYS))


@pytest.fixture
def log_odds() -> np.ndarray:
    """Two questions that name the class together, a copy of one of them, and one that says nothing."""
    first, second = np.where(LABELS // 2, 4.0, -4.0), np.where(LABELS % 2, 4.0, -4.0)
    noise = np.random.default_rng(0).normal(0, 1, (4, 120))
    return np.stack([first, second, second, np.zeros(120)], axis=1) + noise.T


def test_bits_are_those_of_the_class(log_odds: np.ndarray) -> None:
    assert posterior_bits(log_odds, LABELLED) == pytest.approx(2, abs=0.02)
    assert posterior_bits(log_odds[:, 3:], LABELLED) == pytest.approx(0, abs=0.1)


def test_a_question_is_missed_for_its_unique_information(log_odds: np.ndarray) -> None:
    uses = {use.key: use for use in question_uses(log_odds, LABELLED, QUESTIONS)}
    assert uses["first_bit"].missed == pytest.approx(1, abs=0.05)
    assert uses["second_bit"].missed == pytest.approx(0, abs=0.05)
    assert uses["noise"].missed == pytest.approx(0, abs=0.05)
    assert uses["first_bit"].alone > 0.7
    assert uses["second_bit"].alone > 0.7
    assert uses["noise"].alone < 0.1


def test_answers_about_classes_can_be_asked_too(dataset: FileDataset, answers: Answers) -> None:
    uses = answers_uses(dataset, answers)
    assert uses["key"].to_list() == ["is_warm", "is_leafy"]
    assert uses["missed"].to_list() == pytest.approx([0.0, 0.55], abs=0.05)  # the second tells all three apart
    by_class = {name: row for row, name in enumerate(answers.label_names)}
    rows = [by_class[name] for name in answers.label_names]
    same = dataclasses.replace(answers, yes=answers.yes[rows], no=answers.no[rows])
    assert np.isfinite(answers_uses(dataset, same)["missed"].to_numpy()).all()


def test_bits_are_estimated_from_some_of_many_images(
    dataset: FileDataset, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert answers_bits(dataset, answers) == pytest.approx(np.log2(3), abs=0.01)  # the second names the class
    first = answers.only(["is_warm"])
    whole = answers_bits(dataset, first)
    monkeypatch.setattr(usefulness, "MOST_IMAGES", 20)
    some = answers_bits(dataset, first)
    assert whole is not None
    assert some is not None
    assert some != whole
    assert some == pytest.approx(whole, abs=0.4)
    monkeypatch.setattr(usefulness, "LEAST_IMAGES", 7)  # of three classes
    assert answers_bits(dataset, answers) is None


def test_a_single_question_is_missed_for_all_its_information(log_odds: np.ndarray) -> None:
    (use,) = question_uses(log_odds[:, :1], LABELLED, QuestionSet(QUESTIONS.questions[:1]))
    assert use.missed == pytest.approx(posterior_bits(log_odds[:, :1], LABELLED)) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("questions", [1, 4])
@pytest.mark.parametrize("value", [0.0, -8.0, np.inf])
def test_constant_answers_have_no_information(value: float, questions: int) -> None:
    constant = np.full((len(LABELS), questions), value)
    uses = question_uses(constant, LABELLED, QuestionSet(QUESTIONS.questions[:questions]))
    assert [bits for use in uses for bits in (use.alone, use.missed)] == pytest.approx([0.0] * 2 * questions)
