"""The log of an engine process: an unnamed temporary file, removed however the process ends."""

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

LAST_WORDS, LAST_BYTES = 3, 16_384  # lines of a dead engine's log to include in the error, and bytes to search for them
LONGEST_WORDS = 400  # characters of these lines
# Logs of release 0.1.0 had names, and outlived a kill.
NAMED = re.compile(r"aspects-teacher-\w+\.log")
OLD = 86_400.0  # seconds after which no process writes to such a log


class EngineLog:
    """The output of an engine's process. Pickled for a new process, it refers to the same file."""

    def __init__(self) -> None:
        with tempfile.TemporaryFile(buffering=0) as file:
            self._handle = os.dup(file.fileno())
        # Closed with the object: other threads may still read the last lines after the process has ended.
        weakref.finalize(self, os.close, self._handle)

    def last_words(self, secrets: Iterable[str] = ()) -> str:
        """Return the last lines for an error, on one line and without secrets."""
        # Use pread: the writing process shares the file position.
        data = os.pread(self._handle, LAST_BYTES, max(0, os.fstat(self._handle).st_size - LAST_BYTES))
        return last_lines(data.decode(errors="replace"), secrets)

    def __reduce__(self) -> tuple[Callable[[Any], LogWriter], tuple[Any]]:
        return LogWriter, (reduction.DupFd(self._handle),)


class LogWriter:
    """An `EngineLog` in the engine's process."""

    def __init__(self, duplicate: Any) -> None:
        self._duplicate = duplicate

    def take_output(self) -> None:
        """Redirect the output of this process, including its libraries and children, to the log."""
        handle = self._duplicate.detach()
        for stream in (1, 2):
            os.dup2(handle, stream)
        os.close(handle)


def last_lines(text: str, secrets: Iterable[str] = ()) -> str:
    """Return the last lines of `text` on one line and without secrets."""
    lines = [line.strip() for line in text.split("\n") if line.strip()][-LAST_WORDS:]
    return excerpt(" | ".join(lines), secrets, LONGEST_WORDS)


def remove_old_logs() -> None:
    """Remove logs that killed runs of release 0.1.0 left in the folder for temporary files."""
    with suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            with suppress(OSError):  # another user's, or just removed by another run
                if NAMED.fullmatch(entry.name) and time.time() - entry.stat(follow_symlinks=False).st_mtime > OLD:
                    Path(entry.path).unlink()
