from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from student.core.curves import open_curves, write_curves
from student.core.stored_curves import read_progress


@dataclass
class Log:
    epoch: int
    loss: float
    seconds: float
    val_top1: float | None = None


def test_epochs_are_those_that_were_drawn(tmp_path: Path) -> None:
    assert read_progress(tmp_path, 4) is None
    writer = open_curves(tmp_path, 0)
    for epoch in (1, 2, 3):
        write_curves(writer, Log(epoch, loss=1 / epoch, seconds=2.0), tmp_path)
    writer.close()
    found = read_progress(tmp_path, 5)
    assert found is not None
    assert [epoch["epoch"] for epoch in found.epochs] == [1, 2, 3]
    assert found.epochs[1] == {"epoch": 2, "loss": 0.5, "seconds": 2.0}
    assert found.seconds_left == 4.0


def test_epochs_that_a_resumed_run_repeats_are_void(tmp_path: Path) -> None:
    first = open_curves(tmp_path, 0)
    for epoch in (1, 2, 3):
        write_curves(first, Log(epoch, loss=1.0, seconds=2.0), tmp_path)
    first.close()
    second = open_curves(tmp_path, 1)
    write_curves(second, Log(2, loss=0.25, seconds=3.0), tmp_path)
    second.close()
    found = read_progress(tmp_path, None)
    assert found is not None
    assert [(epoch["epoch"], epoch["loss"]) for epoch in found.epochs] == [(1, 1.0), (2, 0.25)]
    assert found.seconds_left is None
