"""A worker of a cluster whose engine waits and breaks on request, and writes down where it runs."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from teacher.extraction import extract, reading
from teacher.extraction.worker import ShardWorker
from tests.teacher.extraction.test_plan import TEACHER, Engine


class HeldEngine(Engine):
    """Waits while the file `hold` exists, and raises while `break` does. Each process that loads it has a file."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        (folder / f"loaded-{os.getpid()}").touch()

    def answer(self, images: Any, questions: Any) -> Any:
        (self.folder / f"asked-{os.getpid()}").touch()
        while (self.folder / "hold").exists():
            time.sleep(0.02)
        if (self.folder / "break").exists():
            raise RuntimeError("out of memory")
        return super().answer(images, questions)


def load_worker(folder: Path) -> ShardWorker:
    """Every image is asked about in a call of its own."""
    reading.CHUNK = extract.PAIRS_AT_ONCE = 1
    return ShardWorker(lambda: HeldEngine(folder), TEACHER, readers=1)


def pids(folder: Path, event: str) -> set[int]:
    """The processes that have `loaded` the engine, or been `asked`."""
    return {int(path.name.rpartition("-")[2]) for path in folder.glob(f"{event}-*")}
