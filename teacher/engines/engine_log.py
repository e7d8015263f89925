"""The log of an engine's process: a file without a name, so that nothing is left of it however the process ends."""

from __future__ import annotations

import os
import re
import tempfile
import time
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
OLD = 86_400.0  # seconds after which such a log is nobody's any more


class EngineLog:
    """What an engine's process prints. Pickled for a new process, it is the same file there."""

    def __init__(self) -> None:
        # Closed with the object: whoever writes to it has a descriptor of its own.
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115

    def last_words(self, secrets: Iterable[str] = ()) -> str:
        """The last lines, for an error: on one line, without secrets."""
        handle = self._file.fileno()
        # Not by reading on: whoever writes to the file shares its position.
        data = os.pread(handle, LAST_BYTES, max(0, os.fstat(handle).st_size - LAST_BYTES))
        words = [line.strip() for line in data.decode(errors="replace").split("\n") if line.strip()][-LAST_WORDS:]
        return excerpt(" | ".join(words), secrets, LONGEST_WORDS)

    def __reduce__(self) -> tuple[Callable[[Any], LogWriter], tuple[Any]]:
        return LogWriter, (reduction.DupFd(self._file.fileno()),)


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
    with suppress(OSError):
        for entry in os.scandir(tempfile.gettempdir()):
            if NAMED.fullmatch(entry.name) and time.time() - entry.stat(follow_symlinks=False).st_mtime > OLD:
                with suppress(OSError):  # another user's
                    Path(entry.path).unlink()
