"""The rounds of an improved question set: `rounds.json` and `rounds.md` in the folder of the students."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.cli.markup import markdown_table
from storage.documents import DocumentInvalid, read_json
from storage.errors import InputInvalid
from storage.filesystem import write_file

ROUNDS_FILE, TABLE_FILE, VERSION = "rounds.json", "rounds.md", 1


class ImprovementInvalid(InputInvalid):
    """A question set cannot be improved as asked; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """A round: 0 is the start. `keys` are the questions of the set, `added` and `dropped` those that differ from the
    last round's; `candidates` were asked about a sample, `rejected` were not asked or are no use.

    `pairs` counts distinct pairs of image and question that were asked so far. `top1` is that of out-of-fold students,
    0..1; `gain` is over the best round before, with its standard error over the images.
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
    gain: float | None = None
    gain_error: float | None = None
    confused: tuple[tuple[str, str, int], ...] = ()

    def row(self) -> dict[str, str]:
        """Return the row of the table of rounds."""
        gain = "-"
        if self.gain is not None and self.gain_error is not None:
            gain = f"{100 * self.gain:+.1f} ± {100 * self.gain_error:.1f}"
        return {
            "round": str(self.number),
            "questions": str(len(self.keys)),
            "added": ", ".join(self.added) or "-",
            "dropped": ", ".join(self.dropped) or "-",
            "candidates": f"{self.candidates} ({self.rejected} rejected)" if self.candidates or self.rejected else "-",
            "pairs asked": f"{self.pairs:,}",
            "effective rank": "-" if self.effective_rank is None else f"{self.effective_rank:.1f}",
            "top-1 %": f"{100 * self.top1:.1f}",
            "gain (standard error)": gain,
            "most confused": ", ".join(f"{first} and {second} ({count})" for first, second, count in self.confused[:3]),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The inputs of an improvement, by which a resumed one is recognised, and its rounds.

    `start_answered`: whether the store had the answers to the start set before, which therefore cost nothing. `pairs`
    are all that were asked, those of a round without a result included.
    """

    inputs: dict[str, Any]
    start_answered: bool
    rounds: tuple[Round, ...] = ()
    stopped: str | None = None
    best: int = 0
    pairs: int = 0

    def markdown(self) -> str:
        lines = ["# Rounds of an improved question set", "", *markdown_table([one.row() for one in self.rounds]), ""]
        if self.stopped is not None:
            lines += [f"Stopped: {self.stopped}. Best round: {self.best}. {self.pairs:,} pairs were asked.", ""]
        lines.append("Top-1 is of out-of-fold students on the training images; the gain is over the best round before.")
        return "\n".join(lines) + "\n"


def write_record(folder: Path, record: Record) -> None:
    """Write both files."""
    document = {"version": VERSION, **dataclasses.asdict(record)}
    write_file(folder / ROUNDS_FILE, json.dumps(document, indent=2).encode())
    write_file(folder / TABLE_FILE, record.markdown().encode())


def begin_record(folder: Path, inputs: dict[str, Any], *, start_answered: bool) -> Record:
    """Return the record of an improvement with these inputs, without rounds: they are computed again from what is
    stored. Raises ImprovementInvalid for a folder with another improvement or a damaged record."""
    path = folder / ROUNDS_FILE
    try:
        found = read_json(path)
        if found["version"] > VERSION:
            raise ImprovementInvalid(f"{path} was written by a newer release; update, or choose another --runs")
        begun, answered = found["inputs"], bool(found["start_answered"])
    except FileNotFoundError:
        record = Record(inputs=inputs, start_answered=start_answered)
        write_record(folder, record)
        return record
    except ImprovementInvalid:
        raise
    except (DocumentInvalid, KeyError, TypeError, AttributeError) as error:
        raise ImprovementInvalid(f"{path} cannot be read; delete it, or choose another --runs") from error
    if begun != json.loads(json.dumps(inputs)):
        differs = next((name for name in inputs if begun.get(name) != json.loads(json.dumps(inputs[name]))), "inputs")
        raise ImprovementInvalid(
            f"{folder} has an improvement with another {differs.replace('_', ' ')}; choose another --runs, or repeat "
            f"the command that began it"
        )
    return Record(inputs=inputs, start_answered=answered)


def best_round(rounds: Sequence[Round]) -> int:
    """Return the number of the round with the highest top-1, the earliest of equals."""
    return max(rounds, key=lambda one: (one.top1, -one.number)).number
