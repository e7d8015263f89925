"""The log of an engine's process: a file without a name, so that nothing is left of it however the process ends."""

from __future__ import annotations

import os
import re
import tempfile
import time
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from multiprocessing import reduction
from pathlib import Path
from typing import Any

from teacher.engines.redaction import excerpt

LAST_WORDS, LAST_BYTES = 3, 16_384  # lines of a dead engine's log that go into the error, and where they are looked for
LONGEST_WORDS = 400  # characters of them
# Logs of release 0.1.0 had names, and outlived a kill.
NAMED = re.compile(r"aspects-teacher-\w+\.log")
OLD = 86_400.0  # seconds after which no process writes to such a log


class EngineLog:
    """What an engine's process prints. Pickled for a new process, it is the same file there."""

    def __init__(self) -> None:
        with tempfile.TemporaryFile(buffering=0) as file:
            self._handle = os.dup(file.fileno())
        # Closed with the object: other threads may still want the last lines when the process has ended.
        weakref.finalize(self, os.close, self._handle)

    def last_words(self, secrets: Iterable[str] = ()) -> str:
        """The last lines, for an error: on one line, without secrets."""
        # Not by reading on: the writing process shares the position in the file.
        data = os.pread(self._handle, LAST_BYTES, max(0, os.fstat(self._handle).st_size - LAST_BYTES))
        words = [line.strip() for line in data.decode(errors="replace").split("\n") if line.strip()][-LAST_WORDS:]
        return excerpt(" | ".join(words), secrets, LONGEST_WORDS)

    def __reduce__(self) -> tuple[Callable[[Any], LogWriter], tuple[Any]]:
        return LogWriter, (reduction.DupFd(self._handle),)


class LogWriter:
    """An `EngineLog` in the engine's process."""

    def __init__(self, duplicate: Any) -> None:
        self._duplicate = duplicate

    def take_output(self) -> None:
        """From now on what this process prints, its libraries and its children included, goes to the log."""
        handle = self._duplicate.detach()
        for stream in (1, 2):
            os.dup2(handle, stream)
        os.close(handle)


def remove_old_logs() -> None:
    """Remove what release 0.1.0 has left in the folder for temporary files where it was killed."""
    with suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            with suppress(OSError):  # another user's, or removed by another run at this moment
                if NAMED.fullmatch(entry.name) and time.time() - entry.stat(follow_symlinks=False).st_mtime > OLD:
                    Path(entry.path).unlink()
