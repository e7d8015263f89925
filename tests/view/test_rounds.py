"""The rounds of improved question sets: on the page of questions and in the report, and as a run while they go on."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from storage.datasets import FileDataset
from teacher.questions.rounds import ROUNDS_FILE, Record, Round
from tests.view.conftest import Open
from view.report import write_report
from view.sources import Sources

RECORD = Record(
    inputs={"dataset": "flowers"},
    start_answered=False,
    rounds=(
        Round(number=0, keys=("is_white", "is_red"), top1=0.25, top1_error=0.05),
        Round(
            number=1,
            keys=("is_red", "<b>new"),
            added=("<b>new",),
            dropped=("is_white",),
            candidates=7,
            pairs=1234,
            top1=0.5,
            top1_error=0.05,
            gain=0.25,
            gain_error=0.03,
            confused=(("rose", "daisy", 5),),
        ),
    ),
    stopped="the gain is within one standard error",
    best=1,
    pairs=1300,
)


def write(folder: Path, record: Record) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ROUNDS_FILE).write_text(json.dumps(record.to_json()))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """The runs of two improvements, one of another dataset, and of one that cannot be read."""
    write(tmp_path / "runs" / "better", RECORD)
    write(tmp_path / "runs" / "birds", replace(RECORD, inputs={"dataset": "birds"}))
    write(tmp_path / "runs" / "torn", RECORD)
    (tmp_path / "runs" / "torn" / ROUNDS_FILE).write_text("{")
    return tmp_path / "runs"


def rows(page: str) -> list[list[str]]:
    """The cells of the tables after the heading of an improvement."""
    section = page.partition(">Improvement: ")[2]
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr[^>]*>(<td.*?)</tr>", section)]


def test_the_questions_have_a_row_for_each_round_and_say_why_they_stopped(
    open_page: Open, store: Path, runs: Path
) -> None:
    page = open_page(store, runs=[runs]).get("/questions").text
    assert re.findall("Improvement: ([^ ]+)", page) == ["runs/better"]
    assert rows(page) == [
        ["0", "2", "-", "-", "-", "0", "-", "25.0 (15.2 to 34.8)", "-", ""],
        ["1", "2", "&lt;b&gt;new", "is_white", "7 (0 rejected)", "1,234", "-", "50.0 (40.2 to 59.8)", "+25.0 ± 3.0",
         "rose and daisy (5)"],
    ]  # fmt: skip
    assert "Stopped: the gain is within one standard error. Best round: 1. 1,300 pairs" in page
    assert "Improvement:" not in open_page(store, runs=[runs]).get("/run").text


def test_the_report_has_them_too(store: Path, flowers: FileDataset, runs: Path, tmp_path: Path) -> None:
    sources = Sources(str(store), tmp_path / "cache", dataset=flowers, runs=[runs])
    write_report(sources, tmp_path / "report.html", max_bytes=1)
    text = (tmp_path / "report.html").read_text()
    questions = text[text.index('<section id="questions">') : text.index('<section id="classes">')]
    assert [row[0] for row in rows(questions)] == ["0", "1"]


def test_an_improvement_that_goes_on_is_a_run(open_page: Open, store: Path, runs: Path) -> None:
    write(runs / "begun", replace(RECORD, rounds=(), stopped=None, pairs=0))
    client = open_page(store, runs=[runs])
    page = client.get("/run").text
    assert re.findall("Improvement: ([^ ]+)", page) == ["runs/begun"]
    assert "No round is finished yet" in page
    write(runs / "begun", replace(RECORD, rounds=RECORD.rounds[:1], stopped=None, pairs=24))
    page = client.get("/run").text
    assert [row[0] for row in rows(page)] == ["0"]
    assert "Not finished; 24 pairs" in page
