"""From the tokens that a server lists to log-probabilities of yes and no."""

from __future__ import annotations

import math

import pytest

from teacher.engines.config import TeacherConfig
from teacher.engines.openai.engine import ROUNDING, read_answer

CONFIG = TeacherConfig(model="tiny", max_pixels=None)


def read(**probabilities: float) -> tuple[float, float, bool]:
    return read_answer([(token, math.log(p)) for token, p in probabilities.items()], CONFIG)


def test_all_spellings_count() -> None:
    listed = {"Yes": 0.3, " yes": 0.2, "\u0120YES": 0.1, "\u2581No": 0.1, "no\n": 0.1, "Note": 0.05, "None": 0.05}
    yes, no, bounded = read(**listed)
    assert [math.exp(yes), math.exp(no)] == pytest.approx([0.6, 0.2])
    assert bounded is False


def test_unlisted_tokens_are_no_likelier_than_the_last_listed_one() -> None:
    yes, no, bounded = read(Yes=0.8, Sure=0.05)
    assert [math.exp(yes), math.exp(no)] == pytest.approx([0.8, 0.05])
    assert bounded is True


def test_unlisted_tokens_are_no_likelier_than_the_remaining_probability() -> None:
    yes, no, bounded = read(Sure=0.6, No=0.39)
    assert [math.exp(yes), math.exp(no)] == pytest.approx([0.01, 0.39])
    assert bounded is True


def test_neither_listed_says_nothing() -> None:
    yes, no, bounded = read(Sure=0.6, Maybe=0.1)
    assert yes == no == pytest.approx(math.log(0.1))
    assert bounded


def test_a_certain_answer_stays_finite() -> None:
    _, no, _ = read(Yes=1.0)
    assert no == pytest.approx(math.log(ROUNDING))
