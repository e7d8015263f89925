"""The epochs of a run that is going on, from the curves that student/core/curves.py writes, without torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECENT = 5  # epochs that the time left is estimated from


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """`epochs` has the values of each finished epoch by name, in order; `planned` is their number at the end. `written`
    is the time of the last one, in seconds since the epoch of Unix."""

    epochs: list[dict[str, float]]
    planned: int | None
    written: float

    @property
    def seconds_left(self) -> float | None:
        recent = [epoch["seconds"] for epoch in self.epochs[-RECENT:] if "seconds" in epoch]
        if self.planned is None or not recent:
            return None
        return max(0, self.planned - len(self.epochs)) * sum(recent) / len(recent)


def read_progress(run_dir: Path, planned: int | None) -> TrainingProgress | None:
    """The curves of a run; None where there are none yet."""
    from tensorboard.compat.proto.event_pb2 import SessionLog

    found: dict[int, dict[str, float]] = {}
    written = 0.0
    for event in _events(run_dir / "tensorboard"):
        # A run that resumes after epoch n begins with step n + 1, and what an attempt before it has drawn is void.
        if event.HasField("session_log") and event.session_log.status == SessionLog.START:
            found = {step: values for step, values in found.items() if step < event.step}
        for value in event.summary.value:
            if value.HasField("simple_value"):
                found.setdefault(event.step, {})[value.tag] = value.simple_value
                written = max(written, event.wall_time)
    if not found:
        return None
    epochs = [{"epoch": float(step), **found[step]} for step in sorted(found)]
    return TrainingProgress(epochs=epochs, planned=planned, written=written)


def _events(folder: Path) -> Iterator[Any]:
    """The events of all files in the order of their times; a damaged end of a file is left out."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader  # seconds to import

    for path in sorted(folder.glob("events.out.tfevents.*"), key=lambda path: path.name):
        yield from LegacyEventFileLoader(str(path)).Load()
