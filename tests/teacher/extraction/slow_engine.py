"""A worker whose engine takes its time, for tests of the process that it runs in."""

from __future__ import annotations

import time
from typing import Any

from teacher.engines.config import ResolvedTeacher
from teacher.extraction import extract, reading
from teacher.extraction.worker import ShardWorker
from tests.teacher.extraction.test_plan import Engine


class SlowEngine(Engine):
    """Never comes back from the call after `quick` ones."""

    slow_because: str | None = "it waits"

    def __init__(self, quick: int, breaks: bool) -> None:
        super().__init__()
        self.quick = quick
        self.breaks = breaks

    def answer(self, images: Any, questions: Any) -> Any:
        self.quick -= 1
        if self.quick < 0 and self.breaks:
            raise RuntimeError("out of memory")
        if self.quick < 0:
            time.sleep(600)
        return super().answer(images, questions)


def load_worker(teacher: ResolvedTeacher, quick: int, breaks: bool) -> ShardWorker:
    """Every image is asked about in a call of its own."""
    reading.CHUNK = extract.PAIRS_AT_ONCE = 1
    return ShardWorker(lambda: SlowEngine(quick, breaks), teacher, readers=1)
