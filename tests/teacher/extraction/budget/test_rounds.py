from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from teacher.extraction.budget.cost import IMAGE_COST, image_cost_of
from teacher.extraction.budget.rounds import PairTable
from tests.teacher.extraction.budget.test_model import CLASSES, IMAGES, QUESTIONS, draw


@pytest.fixture(scope="module")
def drawn() -> tuple[PairTable, NDArray[np.float64]]:
    p_yes, labels = draw(noise=0.05)
    image_ids, keys = [f"{number}.png" for number in range(IMAGES)], [f"q{number}" for number in range(QUESTIONS)]
    return PairTable(image_ids=image_ids, labels=labels, classes=CLASSES, keys=keys), p_yes


def ask(table: PairTable, p_yes: NDArray[np.float64], most: int) -> NDArray[np.bool_]:
    chosen = np.zeros(table.shape, np.bool_)
    while True:
        found = table.next_pairs(chosen, table.fit(chosen, p_yes), most, IMAGE_COST)
        if (found == chosen).all():
            return chosen
        chosen = found


def test_the_budget_is_spent_and_never_exceeded(drawn: tuple[PairTable, NDArray[np.float64]]) -> None:
    table, p_yes = drawn
    for most in (12, 1000, 2400):
        assert most - QUESTIONS < ask(table, p_yes, most).sum() <= most
    assert ask(table, p_yes, table.pairs).all()


def test_the_choice_looks_at_no_answer_that_it_has_not_chosen(drawn: tuple[PairTable, NDArray[np.float64]]) -> None:
    table, p_yes = drawn
    chosen = ask(table, p_yes, 1500)
    other = np.where(chosen, p_yes, np.random.default_rng(5).random(p_yes.shape))
    np.testing.assert_array_equal(ask(table, other, 1500), chosen)


def test_a_larger_budget_has_the_hold_out_of_a_smaller_one(drawn: tuple[PairTable, NDArray[np.float64]]) -> None:
    table, _ = drawn
    small, large = table.hold_out(1000), table.hold_out(2000)
    assert 60 < small.sum() < 140
    assert (large | small == large).all()


def test_the_certified_error_is_not_exceeded(drawn: tuple[PairTable, NDArray[np.float64]]) -> None:
    table, p_yes = drawn
    chosen = ask(table, p_yes, 2000)
    predicted = table.predict(table.fit(chosen, p_yes), chosen, p_yes)
    first, second = (table.certify(chosen, p_yes, predicted, 2200, look) for look in (1, 2))
    asked = chosen | table.hold_out(2200)
    assert first.error < np.abs(predicted - p_yes)[~asked].mean() + 0.01
    assert np.abs(predicted - p_yes)[~asked].mean() <= first.bound < second.bound < 0.15
    assert ((predicted > 0.5) != (p_yes > 0.5))[~asked].mean() <= first.flips_bound
    assert first.sample == int((table.hold_out(2200) & ~chosen).sum())


def test_without_a_model_everything_is_uncertain(drawn: tuple[PairTable, NDArray[np.float64]]) -> None:
    table, p_yes = drawn
    nothing = np.zeros(table.shape, np.bool_)
    assert table.fit(nothing, p_yes) is None
    assert (table.predict(None, nothing, p_yes) == 0.5).all()


def test_the_cost_of_an_image_is_measured_in_tokens() -> None:
    account = {"images": 10, "questions": 100, "prefix_tokens": 2000, "suffix_tokens": 1000}
    assert image_cost_of(account) == 20.0
    assert image_cost_of(None) == image_cost_of({**account, "suffix_tokens": 0}) == IMAGE_COST
