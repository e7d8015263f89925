"""Workers in processes of this machine."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from functools import partial

from teacher.engines.config import ResolvedTeacher
from teacher.engines.options import EngineOptions
from teacher.engines.process import ModelProcess, secrets_of
from teacher.extraction.shard_calls import ShardCalls, load_worker

MOST_READERS = 8  # threads of one worker that read and decode


def readers_of(workers: int, cores: int | None = None) -> int:
    """Return the number of reading threads for each of `workers` workers: two per core, divided among them.

    `cores` are those of this machine by default.
    """
    return max(2, min(MOST_READERS, 2 * (cores or len(os.sched_getaffinity(0))) // workers))


class WorkerProcess(ModelProcess, ShardCalls):
    """A `ShardWorker` in a separate process, for the pool."""

    pending = False

    def __init__(
        self,
        name: str,
        teacher: ResolvedTeacher,
        options: EngineOptions,
        readers: int,
        cancelled: threading.Event | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        load = partial(load_worker, name, teacher, options, readers)
        super().__init__(load, cancelled, environment, secrets_of(options))
