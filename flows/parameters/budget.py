"""Parameters of asking part of the pairs of image and question."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from flows.option_values import OptionInvalid, share
from storage.parameters import Option, Parameters


def _share(value: Any) -> Any:
    return share("budget", value) if isinstance(value, str) else value


class BudgetParameters(Parameters):
    """How many of the pairs of image and question are asked; by default all. The others are predicted."""

    panel: ClassVar[str | None] = "Ask fewer questions"

    budget: Annotated[
        float | None,
        Field(
            gt=0, le=1, description="Share of the pairs of image and question to ask, e.g. 25%; the rest is predicted."
        ),
        BeforeValidator(_share),
        Option(metavar="SHARE", read=lambda text: share("--budget", text)),
    ] = None
    budget_error: Annotated[
        float | None,
        Field(
            gt=0,
            lt=1,
            description="Ask until the predicted p(yes) are wrong by at most this on average, with 95 % confidence, or "
            "the budget is spent.",
        ),
    ] = None

    budget_hours: Annotated[
        float | None,
        Field(
            gt=0,
            description="GPU-hours (hours of a worker without a GPU) that all answers may take by the measured speed "
            "of the teacher, instead of a share.",
        ),
    ] = None
    budget_cost: Annotated[
        float | None,
        Field(
            gt=0,
            description="What all answers may cost by the measured speed of the teacher and --gpu-price, instead of a "
            "share.",
        ),
    ] = None

    @property
    def asks_part(self) -> bool:
        limited = self.budget_hours is not None or self.budget_cost is not None or self.budget_error is not None
        return limited or (self.budget is not None and self.budget < 1)

    def check_budget(self) -> None:
        """Raise OptionInvalid for several limits that would all be a share of the pairs."""
        given = [name for name in ("budget", "budget_hours", "budget_cost") if getattr(self, name) is not None]
        if len(given) > 1:
            names = " and ".join(f"--{name.replace('_', '-')}" for name in given)
            raise OptionInvalid(f"{names} limit the same; give one of them")

    def refuse_budget(self, where: str) -> None:
        """Raise OptionInvalid if a budget is given, for `where` there can be none."""
        for name in ("budget", "budget_error", "budget_hours", "budget_cost"):
            if getattr(self, name) is not None:
                raise OptionInvalid(f"--{name.replace('_', '-')} cannot be used with {where}; leave it out")
