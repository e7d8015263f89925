"""Sampled scenes and the right answers about them."""

from __future__ import annotations

import numpy as np
import pytest

from storage.datasets.scenes.scene import MIDDLE, SIZE, Scene, ground_truth, sample_scene
from storage.questions import QuestionSet, load_questions
from tests.conftest import PROJECT
from tests.storage.datasets.scenes.samples import one_object, one_scene


@pytest.fixture(scope="module")
def questions() -> QuestionSet:
    return load_questions(PROJECT / "questions" / "scenes.yaml")


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    rng = np.random.default_rng(0)
    return [sample_scene(rng) for _ in range(1000)]


def test_the_question_set_has_fifty_questions_in_three_groups(questions: QuestionSet) -> None:
    assert len(questions) == 50
    assert {question.group for question in questions.questions} == {"visual", "categorical", "environmental"}


def test_every_question_has_a_right_answer(questions: QuestionSet, scenes: list[Scene]) -> None:
    assert all(tuple(ground_truth(scene)) == questions.keys for scene in scenes)


def test_every_answer_is_yes_and_no_often_enough(questions: QuestionSet, scenes: list[Scene]) -> None:
    shares = np.mean([list(ground_truth(scene).values()) for scene in scenes], axis=0)
    rare = {key: share for key, share in zip(questions.keys, shares, strict=True) if not 0.05 <= share <= 0.95}
    assert rare == {}


def test_ground_truth_of_a_known_scene() -> None:
    small = one_object(shape="circle", colour="blue", texture="dotted", size="small", radius=6.0, x=50.0, y=50.0)
    scene = one_scene(one_object(), small, small, kind="grass", hue="green", weather="rain", framed=True)
    true = {key for key, value in ground_truth(scene).items() if value}
    assert true == {
        *("has_red", "has_blue", "has_solid", "has_dots", "has_large", "has_small", "has_large_and_small"),
        *("has_different_colours", "has_different_patterns", "has_different_shapes", "has_straight_edges"),
        *("has_star", "has_circle", "more_than_two", "has_twins", "in_upper_half", "in_lower_half"),
        *("on_grass", "is_greenish", "is_raining", "has_frame"),
    }


def test_objects_lie_inside_clear_of_each_other_and_of_the_middle(scenes: list[Scene]) -> None:
    for scene in scenes:
        for i, one in enumerate(scene.objects):
            assert abs(one.x - SIZE / 2) >= MIDDLE - 1e-6
            assert abs(one.y - SIZE / 2) >= MIDDLE - 1e-6
            assert one.radius <= one.x <= SIZE - one.radius
            assert one.radius <= one.y <= SIZE - one.radius
            for other in scene.objects[:i]:
                assert np.hypot(one.x - other.x, one.y - other.y) > one.radius + other.radius


def test_given_aspects_hold_for_all_objects() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        scene = sample_scene(rng, shape="heart", colour="white", texture="dotted", kind="sand", counts=(2, 3))
        assert len(scene.objects) in (2, 3)
        assert scene.kind == "sand"
        assert {(thing.shape, thing.colour, thing.texture) for thing in scene.objects} == {("heart", "white", "dotted")}
        assert scene.tone != "bright", "white would not stand out"
