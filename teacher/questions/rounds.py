"""The rounds in which a question set was improved, as `rounds.json` keeps them in the folder of the students."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.documents import DocumentInvalid, read_json

ROUNDS_FILE, VERSION = "rounds.json", 1
NORMAL_95 = 1.96  # standard errors on each side of a 95 % interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """A round: 0 is the start. `keys` are the questions of the set, `added` and `dropped` those that differ from the
    last round's; `candidates` were asked about a sample, `rejected` were not asked or are no use.

    `pairs` counts distinct pairs of image and question that were asked so far. `top1` is that of out-of-fold students,
    0..1, `top1_error` its standard error over the images; `gain` is over the best round before, with its own.
    """

    number: int
    keys: tuple[str, ...]
    added: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    candidates: int = 0
    rejected: int = 0
    sample: int = 0
    pairs: int = 0
    effective_rank: float | None = None
    top1: float
    top1_error: float | None = None
    gain: float | None = None
    gain_error: float | None = None
    confused: tuple[tuple[str, str, int], ...] = ()

    def row(self) -> dict[str, str]:
        """Return the row of the table of rounds."""
        gain = "-"
        if self.gain is not None and self.gain_error is not None:
            gain = f"{100 * self.gain:+.1f} ± {100 * self.gain_error:.1f}"
        top1 = f"{100 * self.top1:.1f}"
        if self.top1_error is not None:
            low, high = (self.top1 + side * NORMAL_95 * self.top1_error for side in (-1, 1))
            top1 += f" ({100 * max(low, 0.0):.1f} to {100 * min(high, 1.0):.1f})"
        return {
            "round": str(self.number),
            "questions": str(len(self.keys)),
            "added": ", ".join(self.added) or "-",
            "dropped": ", ".join(self.dropped) or "-",
            "candidates": f"{self.candidates} ({self.rejected} rejected)" if self.candidates or self.rejected else "-",
            "pairs asked": f"{self.pairs:,}",
            "effective rank": "-" if self.effective_rank is None else f"{self.effective_rank:.1f}",
            "top-1 % (95 % interval)": top1,
            "gain (standard error)": gain,
            "most confused": ", ".join(f"{first} and {second} ({count})" for first, second, count in self.confused[:3]),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The inputs of an improvement, by which a resumed one is recognised, and its rounds.

    `start_answered`: whether the store had the answers to the start set before, which therefore cost nothing. `pairs`
    are all that were asked, those of a round without a result included. `stopped` says why no round follows; None while
    the improvement goes on.
    """

    inputs: Mapping[str, Any]
    start_answered: bool
    rounds: tuple[Round, ...] = ()
    stopped: str | None = None
    best: int = 0
    pairs: int = 0

    @property
    def rows(self) -> list[dict[str, str]]:
        """Return the table of rounds."""
        return [one.row() for one in self.rounds]

    def to_json(self) -> dict[str, Any]:
        return {"version": VERSION, **dataclasses.asdict(self)}


def read_rounds(path: Path) -> Record | None:
    """Return the record in `path`; None for one that cannot be read or was written by a newer release."""
    try:
        found = read_json(path)
        if found["version"] > VERSION:
            return None
        rounds = tuple(_round(one) for one in found["rounds"])
        return Record(rounds=rounds, **{name: found[name] for name in _names(Record) - {"rounds"}})
    except (OSError, DocumentInvalid, KeyError, TypeError, ValueError, AttributeError):
        return None


def _round(values: Mapping[str, Any]) -> Round:
    known = {name: value for name, value in values.items() if name in _names(Round)}
    tuples = {name: tuple(known.get(name, ())) for name in ("keys", "added", "dropped")}
    confused = tuple((str(first), str(second), int(count)) for first, second, count in known.get("confused", ()))
    return Round(**{**known, **tuples, "confused": confused})


def _names(kind: type) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}


def best_round(rounds: Sequence[Round]) -> int:
    """Return the number of the round with the highest top-1, the earliest of equals. A start whose students had no
    answers is best only if there is no other round: its questions have not been tried."""
    return max(rounds, key=lambda one: (one.effective_rank is not None, one.top1, -one.number)).number
