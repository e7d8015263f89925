from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, logit

from storage.answers.blend import BlendImpossible, agreement, blend_answers
from storage.answers.read import Answers
from storage.questions import AspectQuestion, QuestionSet

QUESTIONS = QuestionSet(tuple(AspectQuestion(key=key, text=f"Is it {key}?") for key in "ab"))


def answers(teacher: str, log_odds: object, names: tuple[str, ...] = ("x", "y", "z")) -> Answers:
    """About images of these names, a class for each."""
    values: NDArray[np.float64] = np.asarray(log_odds, np.float64)
    missing = [bool(np.isnan(row).all()) for row in values]
    return Answers(
        dataset="photos",
        teacher=teacher,
        questions=QUESTIONS,
        image_ids=names,
        image_sha256=("0",) * len(names),
        splits=("train",) * len(names),
        label_names=names,
        errors=tuple("damaged" if each else None for each in missing),
        yes=np.log(expit(values)).astype(np.float32),
        no=np.log(expit(-values)).astype(np.float32),
    )


ONE = answers("1", [[1, 2], [3, -1], [np.nan, np.nan]])
TWO = answers("2", [[3, 0], [1, 1], [5, 4]])


def log_odds(blended: Answers) -> NDArray[np.float32]:
    return blended.yes - blended.no


def test_the_mean_of_log_odds_and_the_only_answer_where_there_is_one() -> None:
    blended = blend_answers([TWO, ONE])
    np.testing.assert_allclose(log_odds(blended), [[2, 1], [2, 0], [5, 4]], atol=1e-5)
    assert (blended.teacher, blended.errors) == ("mean(1,2)", (None, None, None))
    np.testing.assert_array_equal(log_odds(blend_answers([ONE, TWO])), log_odds(blended))
    assert blend_answers([ONE]) is ONE


def test_rows_are_joined_by_id_and_reasons_are_kept() -> None:
    blended = blend_answers([ONE, answers("2", [[7, 7], [9, 8]], ("w", "x"))])
    assert blended.image_ids == ("x", "y", "z", "w")
    assert blended.errors == (None, None, "damaged", None)
    np.testing.assert_allclose(log_odds(blended), np.array([[5, 5], [3, -1], [np.nan, np.nan], [7, 7]]), atol=1e-5)


def test_a_teacher_that_contradicts_the_others_has_no_weight() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(0, 3, (200, 2))
    noisy = [truth + random.normal(0, 1, truth.shape) for _ in range(2)]
    log_odds_TNQ = np.stack([*noisy, -truth])
    weights = agreement(log_odds_TNQ)
    assert weights[2].tolist() == [0, 0]
    names = tuple(map(str, range(200)))
    parts = [answers(str(number), each, names) for number, each in enumerate(log_odds_TNQ)]
    blended = blend_answers(parts, "agreement")
    expected = (weights[:2, None] * log_odds_TNQ[:2]).sum(axis=0) / weights[:2].sum(axis=0)[None]
    np.testing.assert_allclose(log_odds(blended), expected, atol=1e-3)
    assert blended.teacher == "agreement(0,1,2)"


def test_two_teachers_agree_equally() -> None:
    first, second = agreement(np.stack([logit([[0.1, 0.5], [0.9, 0.5]]), [[1, 1], [2, 2]]]))
    np.testing.assert_allclose(first, second)


def test_imported_and_asked_answers_about_classes_are_joined_by_class() -> None:
    asked = replace(TWO, level="class", rows="class")
    imported = replace(ONE, level="class", image_ids=("train/x/1.png", "train/y/1.png", "train/z/1.png"))
    blended = blend_answers([asked, imported])
    assert (blended.level, blended.rows, blended.image_ids) == ("class", "class", ("x", "y", "z"))
    np.testing.assert_allclose(log_odds(blended), [[2, 1], [2, 0], [5, 4]], atol=1e-5)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (replace(TWO, questions=QuestionSet(QUESTIONS.questions[::-1])), "answered different questions"),
        (replace(TWO, level="class"), "answered about different things"),
        (ONE, "teacher 1 is named more than once"),
    ],
)
def test_other_answers_are_refused(other: Answers, reason: str) -> None:
    with pytest.raises(BlendImpossible, match=reason):
        blend_answers([ONE, other])
