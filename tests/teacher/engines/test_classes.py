"""The engine for classes, on a language model that is a function of the message."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy.special import log_softmax

from storage.questions import Choice, QuestionSet
from teacher.engines.base import EngineUsage, WordScores
from teacher.engines.classes import ClassEngine, class_message
from teacher.engines.config import CLASS_PROMPT, TeacherConfig, TeacherInvalid, resolve_served
from teacher.engines.options import EngineOptions

CONFIG = TeacherConfig(model="scripted", about="classes", prompt=CLASS_PROMPT)
SIZES, COLOURS = Choice("How large is it?", ("Small", "Large")), Choice("What colour?", ("Red", "Blue", "Green"))


class ScriptedModel:
    """Follows `TextModel`; `say` gives the logits of the words of a message."""

    calls_at_once = 1
    slow_because: str | None = None

    def __init__(self, say: Callable[[str, int], np.ndarray], mass: float = 1.0) -> None:
        self.say, self.mass = say, mass
        self.usage = EngineUsage()
        self.messages: list[str] = []

    def logprobs(self, messages: Sequence[Sequence[str]], words: Sequence[Sequence[str]]) -> WordScores:
        self.messages += [message for group in messages for message in group]
        self.usage.questions += sum(map(len, messages))
        said = [[log_softmax(self.say(message, len(words))) for message in group] for group in messages]
        return WordScores(np.array(said) + np.log(self.mass), ["Well"])

    def close(self) -> None:
        pass


def noise(message: str, words: int) -> np.ndarray:
    seed = int(hashlib.sha256(message.encode()).hexdigest()[:8], 16)
    return np.random.default_rng(seed).normal(0, 2, words)


def engine_of(model: ScriptedModel, config: TeacherConfig = CONFIG) -> ClassEngine:
    return ClassEngine(model, resolve_served(config), EngineOptions())


def p_yes(answers: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    yes, no = answers
    found: np.ndarray = 1 / (1 + np.exp(no - yes))
    return found


def test_messages_name_the_class_first_and_how_to_answer() -> None:
    model = ScriptedModel(noise)
    asked = [aspect.asked for aspect in SIZES.aspects("size")]
    engine_of(model).answer(['"jay"'], ["Can it fly?", *asked])
    assert model.messages == [
        'Think of a typical image of the class "jay".\nCan it fly?\nAnswer with Yes or No and nothing else.',
        'Think of a typical image of the class "jay".\nHow large is it?\nA. Large\nB. Small\n'
        "Answer with the letter of one option and nothing else.",
        'Think of a typical image of the class "jay".\nHow large is it?\nA. Small\nB. Large\n'
        "Answer with the letter of one option and nothing else.",
    ]


def test_a_domain_is_named_and_braces_of_a_class_stay() -> None:
    config = TeacherConfig(model="x", about="classes", prompt="{class}: {question}", domain="aircraft variants")
    assert (
        class_message(config, "{question}", "Is it red?", "") == "{question}, one of the aircraft variants: Is it red?"
    )


def test_columns_are_those_of_the_questions_in_any_mixture() -> None:
    questions = QuestionSet((*COLOURS.aspects("colour"), *SIZES.aspects("size")))
    asked = ["Is it big?", *(question.asked for question in questions.questions), "Is it old?"]
    classes = ['"jay"', '"owl"']
    yes, no = engine_of(ScriptedModel(noise)).answer(classes, asked)
    found = p_yes((yes, no))
    np.testing.assert_allclose(found[:, 1:4].sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(found[:, 4:6].sum(axis=1), 1, atol=1e-6)
    for order in ([6, 3, 0, 5, 1], [4]):
        again = engine_of(ScriptedModel(noise)).answer(classes, [asked[column] for column in order])
        np.testing.assert_array_equal(again[0], yes[:, order])
        np.testing.assert_array_equal(again[1], no[:, order])


def test_permuting_the_options_changes_nothing() -> None:
    """Not even for a model that says something else about every order."""
    permuted = Choice(COLOURS.text, ("Green", "Red", "Blue"))
    first, second = (
        p_yes(engine_of(ScriptedModel(noise)).answer(['"jay"'], [each.asked for each in choice.aspects("colour")]))[0]
        for choice in (COLOURS, permuted)
    )
    np.testing.assert_array_equal(second, first[[2, 0, 1]])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["Is it red?"], "says neither yes nor no"),
        ([COLOURS.aspects("colour")[0].asked], "names no letter of an option"),
    ],
)
def test_a_model_that_does_not_answer_is_refused(asked: list[str], said: str) -> None:
    with pytest.raises(TeacherInvalid, match=rf"{said}.*'Well'"):
        engine_of(ScriptedModel(noise, mass=1e-5)).answer(['"jay"'], asked)


def test_the_fingerprint_is_one_of_classes() -> None:
    images = TeacherConfig(model="scripted")
    assert "about" not in resolve_served(images).description
    about = [resolve_served(config).fingerprint for config in (images, CONFIG)]
    assert about[0] != about[1]
    pixels = TeacherConfig(model="scripted", about="classes", prompt=CLASS_PROMPT, max_pixels=100)
    assert resolve_served(pixels).fingerprint == about[1]
    domain = TeacherConfig(model="scripted", about="classes", prompt=CLASS_PROMPT, domain="birds")
    assert resolve_served(domain).fingerprint not in about


@pytest.mark.parametrize(
    ("prompt", "missing"), [("{question}", "{class}"), ("{class}", "{question}"), ("{class} {question} {x}", "{x}")]
)
def test_a_prompt_needs_its_places(prompt: str, missing: str) -> None:
    with pytest.raises(TeacherInvalid, match=missing):
        TeacherConfig(model="x", about="classes", prompt=prompt)
