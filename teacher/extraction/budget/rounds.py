"""The rounds of an extraction with a budget: which pairs are asked in each, what is predicted, and how well.

I images, Q questions, C classes. A part of all pairs, drawn at random before anything is asked, is the hold-out. It is
asked too, but neither the choice nor the model looks at a pair of it, unless the pair was chosen as well: so the
hold-out pairs that were not chosen are a random sample of all pairs that were not chosen, and their errors bound the
error of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from teacher.extraction.budget.bound import bound_rest, failure_of_look
from teacher.extraction.budget.choice import FIRST_IMAGES, Pairs, choose_first, choose_next
from teacher.extraction.budget.model import AnswerModel, fit_model
from teacher.extraction.budget.sample import pair_numbers, spread_out

FIRST_SHARE = 0.1  # of all pairs, asked in the first round; each further round doubles the number of pairs
HOLD_OUT_SHARE = 0.1  # of the budget
MOST_HELD_OUT = 1000  # pairs


@dataclass(frozen=True, kw_only=True)
class PairTable:
    """All pairs of an extraction: images with their `labels` [I] (-1: unknown), and questions by their keys.

    `salt` makes another draw.
    """

    image_ids: Sequence[str]
    labels: NDArray[np.int64]
    classes: int
    keys: Sequence[str]
    salt: str = field(default="budget")

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.image_ids), len(self.keys)

    @property
    def pairs(self) -> int:
        return len(self.image_ids) * len(self.keys)

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """The order in which images are taken."""
        return spread_out(self.image_ids, self.labels, self.salt)

    @cached_property
    def numbers(self) -> NDArray[np.float64]:
        """A random number for each pair [I, Q], 0 .. 1."""
        return pair_numbers(self.image_ids, self.keys, self.salt)

    def hold_out(self, budget: int) -> Pairs:
        """Return the hold-out [I, Q]. That of a larger budget includes that of a smaller one."""
        wanted = min(MOST_HELD_OUT, HOLD_OUT_SHARE * budget)
        found: Pairs = self.numbers < wanted / self.pairs
        return found

    def most_chosen(self, budget: int) -> int:
        """Return how many pairs can be chosen, so that they and the hold-out are `budget` pairs.

        Some of the hold-out is chosen too: on average the share that is chosen of all pairs.
        """
        held_out = int(self.hold_out(budget).sum())
        share = held_out / self.pairs
        return max(1, round((budget - held_out) / (1 - share))) if share < 1 else budget

    def fit(self, chosen: Pairs, p_yes: NDArray[np.floating]) -> AnswerModel | None:
        """Fit the model to the answers to the `chosen` pairs, [I, Q] (NaN: there is none); None if a question has
        none."""
        known = np.where(chosen, p_yes, np.nan)
        if np.isnan(known).all(axis=0).any():
            return None
        return fit_model(known, self.labels, self.classes)

    def next_pairs(self, chosen: Pairs, model: AnswerModel | None, most: int, image_cost: float) -> Pairs:
        """Return `chosen` and the next round's pairs, at most `most` in all, [I, Q]; `chosen` itself if nothing is left
        to choose. `model` is fitted to the answers to the chosen pairs."""
        count, questions = int(chosen.sum()), len(self.keys)
        first = max(round(FIRST_SHARE * self.pairs), FIRST_IMAGES * questions)
        pairs = min(2 * count or first, most) - count
        if pairs <= 0 or chosen.all():
            return chosen
        if model is None:
            return choose_first(self.order, chosen, pairs)
        return choose_next(model, chosen, self.order, pairs, image_cost)

    def predict(self, model: AnswerModel | None, chosen: Pairs, p_yes: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the p(yes) of every pair as predicted from the answers to the chosen ones, [I, Q]; 1/2 without a
        model."""
        if model is None:
            return np.full(self.shape, 0.5, np.float32)
        return model.predict(np.where(chosen, p_yes, np.nan), self.labels)

    def certify(
        self, chosen: Pairs, p_yes: NDArray[np.floating], predicted: NDArray[np.floating], budget: int, look: int
    ) -> Certificate:
        """Bound the mean error of the `predicted` values of pairs that were not asked; `look` counts the bounds that
        were looked at, from 1. Hold-out pairs without an answer (unreadable images) are left out."""
        sampled = self.hold_out(budget) & ~chosen
        rows, columns = np.nonzero(sampled & ~np.isnan(p_yes))
        rows, columns = (places[np.argsort(self.numbers[rows, columns])] for places in (rows, columns))
        errors = np.abs(p_yes[rows, columns] - predicted[rows, columns])
        flips = (p_yes[rows, columns] > 0.5) != (predicted[rows, columns] > 0.5)
        failure, population = failure_of_look(look), int((~chosen).sum())
        return Certificate(
            error=float(errors.mean()) if len(errors) else 0.0,
            bound=bound_rest(errors, population, failure),
            flips_bound=bound_rest(flips.astype(np.float64), population, failure),
            sample=len(errors),
            look=look,
        )


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """The mean |p(yes) - predicted p(yes)| of the `sample` hold-out pairs that were not chosen, and upper bounds for
    all pairs that were not asked: of that error, and of the share whose answer, yes or no, is another."""

    error: float
    bound: float
    flips_bound: float
    sample: int
    look: int
