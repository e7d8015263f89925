"""A budget of hours or of money as a share of the pairs, by the speed of the teacher's largest run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flows.option_values import OptionInvalid
from flows.parameters import BudgetParameters, ExtractionParameters
from storage.datasets.base import ImageDataset, select
from storage.questions import QuestionSet
from teacher.engines.config import ResolvedTeacher
from teacher.extraction.budget.cost import hours_of_question, image_cost_of, price_of_question, share_within
from teacher.extraction.cost_model import sample_command
from teacher.extraction.forecast import last_account
from teacher.extraction.plan import directory_of

LIMIT = "limit"  # in the manifest's facts about a budget


def with_share(
    asked: ExtractionParameters,
    images: ImageDataset,
    splits: Sequence[str],
    teacher: ResolvedTeacher,
    questions: QuestionSet,
) -> ExtractionParameters:
    """Return the parameters with the share of the pairs that `budget_hours` or `budget_cost` allow; as they are where
    neither is given.

    The same limit stays the same share, whatever has been measured since: the manifest records it. Raises OptionInvalid
    for several limits, where nothing was measured, and for money without a price.
    """
    asked.check_budget()
    if asked.budget_hours is None and asked.budget_cost is None:
        return asked
    count = len(select(images, splits))
    directory = directory_of(images, questions, teacher, asked.store)
    budget = (directory.last_manifest() or {}).get("budget")
    known = dict((budget.get(LIMIT) if isinstance(budget, dict) else None) or {})
    share = known.pop("share", None)
    if share is None or known != _limit(asked, count * len(questions)):
        account = last_account(asked.store, teacher.fingerprint)
        share = share_within(_affordable(asked, account), count, len(questions), image_cost_of(account))
    return asked.model_copy(update={"budget": share})


def limit_of(budget: BudgetParameters, pairs: int) -> dict[str, Any]:
    """Return what the manifest records of the limit of a budget `with_share`; nothing where only a share was given."""
    if budget.budget_hours is None and budget.budget_cost is None:
        return {}
    return {LIMIT: {**_limit(budget, pairs), "share": budget.budget}}


def _limit(budget: BudgetParameters, pairs: int) -> dict[str, Any]:
    return {"hours": budget.budget_hours, "cost": budget.budget_cost, "pairs": pairs}


def _affordable(asked: ExtractionParameters, account: Mapping[str, Any] | None) -> float:
    """Return how many questions the hours or the money are worth."""
    if account is None:
        model = asked.answering().model
        sample = sample_command(asked.dataset.source or "DATASET", asked.questions, model or "MODEL", asked.store)
        raise OptionInvalid(
            f"a budget of hours or money needs the teacher's speed, and it has no run in the store; ask about a sample "
            f"first: {sample}"
        )
    if asked.budget_hours is not None:
        return asked.budget_hours / hours_of_question(account)
    price = price_of_question(account, asked.engine.price_per_gpu_hour, asked.engine.price_per_million_tokens)
    if not price:
        raise OptionInvalid("--budget-cost needs a price; give --gpu-price PRICE, that of a GPU for an hour")
    return (asked.budget_cost or 0.0) / price
