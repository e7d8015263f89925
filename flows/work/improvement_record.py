"""Keep the rounds of an improved question set: `rounds.json` and `rounds.md` in the folder of the students."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flows.cli.markup import markdown_table
from storage.documents import DocumentInvalid, read_json
from storage.errors import InputInvalid
from storage.filesystem import write_file
from teacher.questions.rounds import ROUNDS_FILE, VERSION, Record

TABLE_FILE = "rounds.md"


class ImprovementInvalid(InputInvalid):
    """A question set cannot be improved as asked; the message says why and what to do."""


def markdown(record: Record) -> str:
    """Return the table of rounds, and why they stopped."""
    lines = ["# Rounds of an improved question set", "", *markdown_table(record.rows), ""]
    if record.stopped is not None:
        lines += [f"Stopped: {record.stopped}. Best round: {record.best}. {record.pairs:,} pairs were asked.", ""]
    lines.append("Top-1 is of out-of-fold students on the training images; the gain is over the best round before.")
    return "\n".join(lines) + "\n"


def write_record(folder: Path, record: Record) -> None:
    """Write both files."""
    write_file(folder / ROUNDS_FILE, json.dumps(record.to_json(), indent=2).encode())
    write_file(folder / TABLE_FILE, markdown(record).encode())


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
