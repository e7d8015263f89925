"""Hours and money as questions, and questions as a share of the pairs."""

from __future__ import annotations

import pytest

from teacher.extraction.budget.cost import (
    IMAGE_COST,
    hours_of_question,
    image_cost_of,
    price_of_question,
    share_within,
)

# Seeing an image costs as much as four questions; 360 s of two GPUs for 100 images x 6 questions: 1,000 in all.
ACCOUNT = {
    "images": 100,
    "questions": 600,
    "seconds": 400.0,
    "start_seconds": 40.0,
    "workers": 2,
    "gpus": 2,
    "prefix_tokens": 8_000,
    "suffix_tokens": 12_000,
    "prompt_tokens": 20_000,
}


def test_a_question_costs_its_part_of_the_time_and_of_the_tokens() -> None:
    assert image_cost_of(ACCOUNT) == 4
    assert hours_of_question(ACCOUNT) == pytest.approx(0.2 / 1000)
    assert hours_of_question({**ACCOUNT, "gpus": 0, "workers": 1}) == pytest.approx(0.1 / 1000)
    assert price_of_question(ACCOUNT, 2.5, None) == pytest.approx(0.5 / 1000)
    assert price_of_question(ACCOUNT, None, 10.0) == pytest.approx(0.2 / 1000)
    assert price_of_question(ACCOUNT, 2.5, 10.0) == pytest.approx(0.7 / 1000)


@pytest.mark.parametrize(
    ("share", "part_of_the_cost"), [(0.1, 10 / 63), (0.25, 25 / 63), (0.5, 38 / 63), (1.0, 1.0), (1.0, 2.0)]
)
def test_what_is_affordable_is_the_share_whose_cost_it_is(share: float, part_of_the_cost: float) -> None:
    assert share_within(part_of_the_cost * 63 * 2091, 2091, 50, IMAGE_COST) == pytest.approx(share)
