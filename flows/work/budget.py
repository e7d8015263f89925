"""Ask part of the pairs of image and question in rounds, and predict the rest, within a budget.

A round is chosen and recorded before it is asked, so that a run that was killed continues with it. See
`teacher/extraction/budget/`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.parameters import BudgetParameters
from flows.work.host import Reporter
from storage.answers.choice import StoredChoice, read_choice, write_choice
from storage.answers.predicted import write_predicted
from storage.answers.shards import Shard
from storage.datasets.base import ImageDataset
from storage.statistics import sigmoid
from teacher.extraction.budget.bound import CONFIDENCE
from teacher.extraction.budget.rounds import PairTable
from teacher.extraction.ledger import Ledger
from teacher.extraction.plan import ExtractionPlan, continue_plan, narrow_plan

Mask = NDArray[np.bool_]
Ask = Callable[[ExtractionPlan], Ledger]


class BudgetedExtraction:
    """The rounds of one extraction. I images of the plan and Q questions.

    `ask` asks for the missing answers of a plan. After `run`, `plan` is the last round's, `ledgers` are those of rounds
    in which something was asked, and `facts` go into the manifest's field `budget`.
    """

    def __init__(
        self,
        plan: ExtractionPlan,
        images: ImageDataset,
        limits: BudgetParameters,
        image_cost: float,
        ask: Ask,
        reporter: Reporter,
    ) -> None:
        records = [record for shard in plan.shards for record in shard.records]
        self.plan, self.limits, self.image_cost = plan, limits, image_cost
        self.table = PairTable(
            image_ids=[record.image_id for record in records],
            labels=np.array([record.label for record in records], np.int64),
            classes=len(images.class_names),
            keys=plan.header.questions.keys,
        )
        self.ledgers: list[Ledger] = []
        self.facts: dict[str, Any] = {}
        self._ask, self._reporter = ask, reporter
        self._starts = _starts(plan)
        self._choice = read_choice(plan.directory, self.table.image_ids, len(self.table.keys))
        self._read_answers()
        self._asked_before = self._answered  # kept, whatever is chosen
        self._exhausted = False

    def run(self) -> None:
        """Ask round by round until the budget is spent, the bound is below the wanted error, or all is asked.

        Raises the errors of `ask`, and StorageUnavailable.
        """
        while True:
            most = self.table.most_chosen(self._budget())
            last = self._exhausted or int(self._choice.chosen.sum()) >= most
            looking = last or self.limits.budget_error is not None
            self._ask_round(looking)
            model = self.table.fit(self._choice.chosen, self._p_yes)
            if looking and self._choice.chosen.any():
                self._certify(self.table.predict(model, self._choice.chosen, self._p_yes))
                if last or self.facts["bound"] <= (self.limits.budget_error or 0.0):
                    return
            chosen = self.table.next_pairs(self._choice.chosen, model, most, self.image_cost)
            self._exhausted = bool((chosen == self._choice.chosen).all())
            if not self._exhausted:
                self._record(replace(self._choice, chosen=chosen))

    def _budget(self) -> int:
        """Return the number of pairs to ask; not less than has been chosen already."""
        wanted = round((self.limits.budget or 1.0) * self.table.pairs)
        return max(wanted, int(self._choice.chosen.sum()))

    def _ask_round(self, looking: bool) -> None:
        """Ask for the missing answers to the chosen pairs and, if the error is looked at, to the hold-out."""
        wanted = self._choice.chosen | self._asked_before
        if looking:
            wanted = wanted | self.table.hold_out(self._budget())

        def of_shard(shard: Shard) -> Mask:
            start = self._starts[shard.file_name]
            return wanted[start : start + len(shard.records)]

        self.plan = continue_plan(self.plan, of_shard) if self.ledgers else narrow_plan(self.plan, of_shard)
        if self.plan.missing:
            self.ledgers.append(self._ask(self.plan))
            self.plan = continue_plan(self.plan, of_shard)
            self._read_answers()

    def _certify(self, predicted: NDArray[np.float32]) -> None:
        """Bound the error of the `predicted` values and write those of the pairs that were not asked. The bound of an
        earlier run is kept if nothing has been asked since."""
        chosen, budget = self._choice.chosen, self._budget()
        answered = int(self._answered.sum())
        missing = np.where(self._answered | self._failed[:, None], np.float32(np.nan), predicted)
        digest = write_predicted(self.plan.directory, self.table.image_ids, self.table.keys, missing)
        found = self._choice.certificate
        if found.get("chosen") != int(chosen.sum()) or found.get("answered") != answered:
            look = self._choice.looks + 1
            certificate = asdict(self.table.certify(chosen, self._p_yes, predicted, budget, look))
            found = {**certificate, "chosen": int(chosen.sum()), "answered": answered}
            self._record(StoredChoice(chosen=chosen, looks=look, certificate=found))
        self.facts = {
            "pairs": self.table.pairs,
            "asked": answered,
            "confidence": CONFIDENCE,
            **{name: found[name] for name in ("error", "bound", "flips_bound", "sample")},
            "predicted": digest,
        }
        self._reporter.say(
            f"{answered / self.table.pairs:.1%} of the pairs are asked: predicted p(yes) of the others are wrong by at "
            f"most {found['bound']:.3f} on average"
        )

    def _record(self, choice: StoredChoice) -> None:
        write_choice(self.plan.directory, self.table.image_ids, choice)
        self._choice = choice

    def _read_answers(self) -> None:
        """Read the answers of the plan's stored shards: p(yes) [I, Q], NaN where there is none."""
        self._p_yes = np.full(self.table.shape, np.nan, np.float32)
        self._failed = np.zeros(len(self.table.image_ids), np.bool_)
        place = {image_id: row for row, image_id in enumerate(self.table.image_ids)}
        for stored in self.plan.stored.values():
            answers = stored.answers
            assert answers is not None, "the plan keeps them"
            ours = [place.get(record.image_id, -1) for record in answers.records]
            rows = np.array(ours, np.int64)
            p_yes = sigmoid(answers.yes - answers.no)
            self._p_yes[rows[rows >= 0]] = p_yes[rows >= 0]
            self._failed[rows[rows >= 0]] = np.array([error is not None for error in answers.errors])[rows >= 0]
        self._answered = ~np.isnan(self._p_yes)


def _starts(plan: ExtractionPlan) -> dict[str, int]:
    """Return the number of images before each shard, by file name."""
    ends = np.cumsum([len(shard.records) for shard in plan.shards])
    return {shard.file_name: int(end) - len(shard.records) for shard, end in zip(plan.shards, ends, strict=True)}
