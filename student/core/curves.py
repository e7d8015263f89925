"""Curves of a run for TensorBoard."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from student.core.files import writing


def open_curves(run_dir: Path, epochs: int) -> SummaryWriter:
    """To resume after so many epochs. Curves of later epochs, which have no checkpoint, are deleted."""
    folder = run_dir / "tensorboard"
    if epochs == 0:
        shutil.rmtree(folder, ignore_errors=True)
    with writing(folder):
        return SummaryWriter(str(folder), purge_step=epochs + 1)


def write_curves(writer: SummaryWriter, log: Any, run_dir: Path) -> None:
    with writing(run_dir / "tensorboard"):
        for name, value in dataclasses.asdict(log).items():
            if value is not None and name != "epoch":
                writer.add_scalar(name, value, log.epoch)
        writer.flush()
