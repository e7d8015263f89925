"""The choice of questions by the answers about a sample, and what it costs."""

from __future__ import annotations

import numpy as np
import pytest

from storage.answers.read import Answers
from storage.datasets.base import ImageRecord
from storage.questions import AspectQuestion, QuestionSet
from teacher.questions.improvement import (
    PairBudget,
    best_questions,
    grow_sample,
    mean_difference,
    merged,
    stage_sizes,
    unfit,
    usable,
)

RED = AspectQuestion(key="red", text="Is it red?")
BIG = AspectQuestion(key="big", text="Is it big?")


def records(**counts: int) -> list[ImageRecord]:
    return [
        ImageRecord(image_id=f"{name}/{number}", split="train", label=label, label_name=name)
        for label, (name, count) in enumerate(counts.items())
        for number in range(count)
    ]


def answers(p_yes: np.ndarray, names: list[str]) -> Answers:
    keys = [f"q{column}" for column in range(p_yes.shape[1])]
    p = np.clip(p_yes, 0.001, 0.999)
    return Answers(
        dataset="garden",
        teacher="abc",
        questions=QuestionSet(tuple(AspectQuestion(key=key, text=f"Is it {key}?") for key in keys)),
        image_ids=tuple(map(str, range(len(names)))),
        image_sha256=(None,) * len(names),
        splits=("train",) * len(names),
        label_names=tuple(names),
        errors=(None,) * len(names),
        yes=np.log(p).astype(np.float32),
        no=np.log1p(-p).astype(np.float32),
    )


def test_pairs_are_counted_once_and_free_questions_never() -> None:
    budget = PairBudget(limit=5, free=frozenset({BIG.text}))
    budget.spend([RED, BIG], ["a", "b"])
    budget.spend([RED], ["b", "c"])
    assert budget.spent == 3
    assert budget.cost([RED, BIG], ["a", "d"]) == 1
    assert budget.fits([RED], ["a", "d", "e"])
    assert not budget.fits([RED], ["d", "e", "f"])
    assert PairBudget().fits([RED], ["a"] * 100)


def test_stages_end_with_the_whole_sample() -> None:
    assert stage_sizes(72) == [24, 72]
    assert stage_sizes(1) == [1]


def test_a_sample_grows_by_confused_classes_which_are_asked_about_first() -> None:
    everything = records(fox=5, cat=5, owl=5)
    first = grow_sample(everything, [], set(), 6, seed=1)
    assert sorted(record.label_name for record in first) == ["cat", "cat", "fox", "fox", "owl", "owl"]
    second = grow_sample(everything, first, {"fox", "cat"}, 4, seed=2)
    assert second[4:] == first
    assert {record.label_name for record in second[:4]} == {"fox", "cat"}
    assert len(set(second)) == 10
    rest = grow_sample(everything, everything[:10], {"fox"}, 3, seed=3)
    assert [record.label_name for record in rest[:3]] == ["owl"] * 3


def test_candidates_that_name_a_class_or_repeat_a_question_are_rejected() -> None:
    found, rejected = usable(
        [
            AspectQuestion(key="fox", text="Is it a fox?"),
            AspectQuestion(key="red", text="Is the sky blue?"),
            AspectQuestion(key="again", text="Is it big?"),
            AspectQuestion(key="snow", text="Is there snow on the ground?"),
        ],
        [RED, BIG],
        ["red fox", "bobcat"],
    )
    assert [one.key for one in found] == ["snow"]
    assert [one.reason for one in rejected] == [
        "names the class 'red fox'",
        "has the key of another question, 'red'",
        "repeats 'Is it big?'",
    ]


def test_the_best_questions_separate_the_classes_together() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.integers(0, 2, (2, 80))
    names = [f"class {one ^ other}" for one, other in zip(first, second, strict=True)]
    noise = generator.random((80, 3))
    both = answers(np.column_stack([noise[:, 0], first, noise[:, 1], second, noise[:, 2]]), names)
    assert best_questions(both, 2) == ["q1", "q3"]
    assert best_questions(both, 9) == list(both.questions.keys)


def test_questions_that_the_image_does_not_decide_are_unfit() -> None:
    names = ["fox", "cat"] * 20
    sure = np.tile([1.0, 0.0], 20)
    found = unfit(answers(np.column_stack([sure, np.full(40, 0.4), np.zeros(40)]), names), ["fox", "cat"])
    assert found == {
        "q1": "unanswerable: the image decides 0% of the answer",
        "q2": "biased to no: p(no) is 99.9% on average",
    }


def test_questions_of_several_sets_are_merged_by_key() -> None:
    assert merged([[RED], [BIG, RED]]).keys == ("red", "big")


def test_the_gain_has_the_standard_error_of_its_pairs() -> None:
    mean, error = mean_difference([1.0, 1.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0])
    assert mean == 0.5
    assert error == pytest.approx(np.std([1, 0, 0, 1], ddof=1) / 2)
