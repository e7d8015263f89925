"""The costs of a directory's extractions, from the ledgers in its manifest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """A ledger, or the sum of several: numbers that a ledger does not have count as 0. `cost` is None without a price.

    `questions` were asked, `reused` answers came from the store. `asking_seconds` are those after the teacher was
    loaded.
    """

    images: int = 0
    questions: int = 0
    reused: int = 0
    prompt_tokens: int = 0
    seconds: float = 0.0
    asking_seconds: float = 0.0
    gpu_seconds: float = 0.0
    cost: float | None = None

    @classmethod
    def of(cls, ledger: Mapping[str, Any]) -> Self:
        """Convert a ledger of a manifest; values that are not numbers count as 0."""

        def number(name: str) -> Any:
            value = ledger.get(name)
            return value if isinstance(value, int | float) else 0

        seconds = number("seconds")
        return cls(
            **{name: number(name) for name in ("images", "questions", "reused", "prompt_tokens")},
            seconds=seconds,
            asking_seconds=max(seconds - number("start_seconds"), 0.0),
            gpu_seconds=number("gpu_seconds"),
            cost=number("cost") if ledger.get("cost") is not None else None,
        )

    @classmethod
    def total(cls, costs: Iterable[Cost]) -> Cost:
        every = list(costs)
        known = [one.cost for one in every if one.cost is not None]
        names = [name for name in cls.__slots__ if name != "cost"]
        sums = {name: sum(getattr(one, name) for one in every) for name in names}
        return cls(**sums, cost=sum(known) if known else None)

    @property
    def images_per_second(self) -> float | None:
        """Return the images asked about per second; None if the time is unknown."""
        return self.images / self.asking_seconds if self.asking_seconds > 0 else None


def costs_of(manifest: Mapping[str, Any]) -> list[Cost]:
    """Return the cost of each extraction, in their order."""
    return [Cost.of(run) for run in manifest.get("runs", []) if isinstance(run, Mapping)]
