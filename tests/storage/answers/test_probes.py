"""Answers about a blank image and to negated questions: what is asked, and how it is found again."""

from __future__ import annotations

from storage.answers.probes import NEGATED, blank_name, blank_questions, negated_questions
from storage.questions import AspectQuestion, QuestionSet

RED = AspectQuestion(key="red", text="Is it red?", negation="Is nothing red here?")
BIG = AspectQuestion(key="big", text="Is it big?", negation="Is it small?")
TINY = AspectQuestion(key="tiny", text="Is it tiny?", negation="is it big?")
ROUND = AspectQuestion(key="round", text="Is it round?")


def test_negations_are_a_set_of_their_own() -> None:
    found = negated_questions(QuestionSet((RED, ROUND, BIG)))
    assert found is not None
    assert {one.key: one.text for one in found.questions} == {
        f"red{NEGATED}": "Is nothing red here?",
        f"big{NEGATED}": "Is it small?",
    }
    assert negated_questions(QuestionSet((ROUND,))) is None


def test_a_blank_image_is_asked_each_text_once() -> None:
    asked = blank_questions(QuestionSet((BIG, TINY)))
    assert asked.texts == ("Is it big?", "Is it tiny?", "Is it small?")
    assert blank_name("garden") == "garden~blank"
