"""The record of an improvement: what is read back, and the row of a round."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from teacher.questions.rounds import VERSION, Record, Round, best_round, read_rounds

START = Round(number=0, keys=("red", "big"), top1=0.25)
FIRST = Round(
    number=1,
    keys=("red", "striped"),
    added=("striped",),
    dropped=("big",),
    candidates=9,
    rejected=2,
    sample=12,
    pairs=1234,
    effective_rank=1.94,
    top1=0.5,
    top1_error=0.05,
    gain=0.25,
    gain_error=0.03,
    confused=(("fox", "cat", 7),),
)
RECORD = Record(
    inputs={"dataset": "garden"}, start_answered=False, rounds=(START, FIRST), stopped="done", best=1, pairs=1300
)


def write(path: Path, **changes: Any) -> Path:
    path.write_text(json.dumps({**RECORD.to_json(), **changes}))
    return path


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_rounds(write(tmp_path / "rounds.json")) == RECORD


def test_fields_of_other_releases_are_ignored_or_have_their_defaults(tmp_path: Path) -> None:
    old = {name: value for name, value in RECORD.to_json()["rounds"][0].items() if name != "top1_error"}
    found = read_rounds(write(tmp_path / "rounds.json", rounds=[{**old, "later": 1}]))
    assert found is not None
    assert found.rounds == (START,)


@pytest.mark.parametrize(
    "changes", [{"version": VERSION + 1}, {"version": "x"}, {"rounds": [3]}, {"rounds": None}, {"rounds": [{}]}]
)
def test_what_cannot_be_read_is_no_record(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert read_rounds(write(tmp_path / "rounds.json", **changes)) is None
    (tmp_path / "torn.json").write_text('{"version": 1')
    assert read_rounds(tmp_path / "torn.json") is None
    assert read_rounds(tmp_path / "none.json") is None


def test_a_row_has_the_accuracy_with_its_interval() -> None:
    assert FIRST.row() == {
        "round": "1",
        "questions": "2",
        "added": "striped",
        "dropped": "big",
        "candidates": "9 (2 rejected)",
        "pairs asked": "1,234",
        "effective rank": "1.9",
        "top-1 % (95 % interval)": "50.0 (40.2 to 59.8)",
        "gain (standard error)": "+25.0 ± 3.0",
        "most confused": "fox and cat (7)",
    }
    assert START.row()["top-1 % (95 % interval)"] == "25.0"


def test_the_earliest_of_equal_rounds_is_the_best() -> None:
    assert best_round([START, FIRST]) == 1
    assert best_round([START, Round(number=1, keys=("red",), top1=0.25)]) == 0
