"""A teacher that says neither yes nor no is refused after its first batch, by what it says instead."""

from __future__ import annotations

import contextlib
import dataclasses
import math

import numpy as np
import pytest

from teacher.engines.answer_mass import AnswerMass
from teacher.engines.base import EngineUsage, TeacherEngine
from teacher.engines.config import MIN_ANSWER_MASS, TeacherInvalid, resolve, resolve_served, tiny_teacher
from teacher.engines.openai.engine import OpenAIEngine
from teacher.engines.options import EngineOptions
from teacher.engines.transformers.engine import TransformersEngine
from tests.teacher.contract import QUESTIONS, sample_images
from tests.teacher.servers import Reply, chat_reply, scripted_server

# Words that the bundled model has tokens for, and never says.
SILENT = dataclasses.replace(tiny_teacher(), yes_words=("red",), no_words=("blue",))


def judge(least: float = MIN_ANSWER_MASS) -> AnswerMass:
    return AnswerMass(tiny_teacher(), EngineOptions(min_answer_mass=least), EngineUsage())


def test_a_mean_below_the_least_is_rejected_in_every_later_call() -> None:
    mass = judge()
    with pytest.raises(TeacherInvalid, match=r"1e-06 on .* 6 answers, to 3 questions; it begins with 'A', "):
        mass.add(np.full((2, 3), 1e-6), ["a", "b", "c"], ["A", "A", "\x1b[2J", "The"])
    with pytest.raises(TeacherInvalid):
        mass.require()


def test_single_answers_may_be_anything() -> None:
    mass = judge()
    mass.add(np.array([[0.0, 0.0, 0.9]]), ["a", "b", "c"], [])
    mass.add(np.zeros((1, 1)), ["a"], [])  # it was judged before
    mass.require()
    assert mass.usage.answer_mass == pytest.approx(0.9)


def test_nothing_asked_is_no_judgement() -> None:
    mass = judge()
    mass.add(np.empty((0, 3)), ["a", "b", "c"], [])
    assert not mass.is_judged


def test_with_a_least_of_zero_any_teacher_is_taken() -> None:
    judge(0.0).add(np.full((2, 1), 1e-12), ["a"], [])


def refused(engine: TeacherEngine) -> str:
    for _ in range(2):
        with pytest.raises(TeacherInvalid, match=r"says neither yes nor no: .*; it begins with '") as caught:
            engine.answer(sample_images()[:2], QUESTIONS[:3])
    assert "--yes-words" in str(caught.value)
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize("plain", [False, True])
def test_transformers_names_other_first_tokens(plain: bool) -> None:
    engine = TransformersEngine(resolve(SILENT), EngineOptions(plain=plain))
    said = refused(engine)
    assert "'Yes'" in said or "'No'" in said
    answered = TransformersEngine(resolve(tiny_teacher()), EngineOptions(plain=plain))
    answered.answer(sample_images()[:2], QUESTIONS[:3])
    assert answered.usage.answer_mass == pytest.approx(6, rel=1e-2)


def test_a_server_is_judged_by_more_than_its_sample() -> None:
    def listing(**probabilities: float) -> Reply:
        tokens = [{"token": token, "logprob": math.log(p)} for token, p in probabilities.items()]
        return chat_reply("A", logprobs={"content": [{**tokens[0], "top_logprobs": tokens}]})

    with scripted_server(lambda request: listing(Yes=0.6, No=0.3)) as server:
        teacher = resolve_served(tiny_teacher())
        with contextlib.closing(OpenAIEngine(teacher, EngineOptions(base_url=server.url))) as engine:
            server.reply = lambda request: listing(The=0.9, Yesterday=0.05)
            assert "'The'" in refused(engine)
