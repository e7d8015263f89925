"""Bars of 80 columns on a terminal, and plain lines elsewhere."""

from __future__ import annotations

import io
import re
import time

import pytest
from rich.console import Console

from student.core import progress
from student.core.progress import ImageBar, duration, titled
from tests.flows.processes import wait_until

TITLE = "student 10 of 12, recommended-class-mean, seed 2"
NEWS = "epoch 199/200: loss 12.345, val loss 1.234, val top-1 100.0 %"


def drawn(bar: ImageBar) -> list[str]:
    console = Console(file=io.StringIO(), width=80)
    console.print(bar._bar.get_renderable())
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize("answers", [0.0, 50.0])
def test_nothing_is_wrapped_or_cut_at_80_columns(answers: float) -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=80)
    with titled(TITLE):
        bar = ImageBar("training", 1_250_000, done=250_000, answers=answers, console=terminal)
    with bar:
        bar.describe(NEWS)
        for _ in range(3):
            bar.advance(10)
            time.sleep(0.01)
        lines = drawn(bar)
    assert lines[:2] == [f"{TITLE}, resumed at 20%", NEWS]
    assert len(lines) == 3
    assert "images/s" in lines[2]
    assert ("answers/s" in lines[2]) == bool(answers)
    assert " 250030/1250000 " in lines[2]
    assert not any("…" in line or len(line) > 80 for line in lines)


def test_names_in_a_bar_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    with titled("student 1 of 1, milestones=[150, 180][/b]\x1b, seed 0"):
        bar = ImageBar("[/b]", 10, console=Console(file=io.StringIO(), force_terminal=True, width=80))
    assert drawn(bar)[0] == "student 1 of 1, milestones=[150, 180][/b]\\x1b, seed 0"
    assert drawn(bar)[1].startswith("[/b] ")


def test_without_a_terminal_there_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.02)
    log = Console(file=io.StringIO(), force_terminal=False, width=40)
    with titled("student 1 of 2, base, seed 0"):
        bar = ImageBar("starting", 1000, answers=4, waiting=True, console=log)

    def wait_for_line(part: str) -> None:
        wait_until(lambda: part in log.file.getvalue(), 60, f"a line with '{part}'")  # type: ignore[attr-defined]

    with bar:
        wait_for_line("starting")
        bar.start("asking")
        bar.advance(500)
        wait_for_line("asking: 500")
        bar.describe("epoch 1/2: loss 0.5")
    lines = log.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert re.fullmatch(r"student 1 of 2, base, seed 0: starting, \d s so far", lines[0])
    asking = next(line for line in lines if "asking: 500" in line)
    assert asking.startswith("student 1 of 2, base, seed 0: asking: 500 of 1,000 images, ")
    assert " answers/s, " in asking
    assert asking.endswith(" s left")
    assert any("epoch 1/2: loss 0.5; " in line for line in lines)
    count = len(lines)
    time.sleep(0.05)
    assert len(log.file.getvalue().splitlines()) == count  # type: ignore[attr-defined]


def test_hidden_progress_prints_nothing() -> None:
    log = Console(file=io.StringIO(), force_terminal=True)
    with ImageBar("training", 10, shown=False, console=log) as bar:
        bar.advance(5)
        bar.describe("epoch 1")
    assert log.file.getvalue() == ""  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.2, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
