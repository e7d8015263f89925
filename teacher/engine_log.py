"""The log of an engine's process: a file that is there as long as the process, and what is read from it."""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from teacher.redaction import excerpt

PREFIX = "aspects-teacher-"
NAME = re.compile(rf"{PREFIX}(?:(?P<pid>\d+)-)?\w+\.log")
SETTLED = 60.0  # seconds after which a log that somebody writes to is locked
OLD = 86_400.0  # and those after which one is given up that has no number in its name, as older releases wrote them
LAST_WORDS, LAST_BYTES = 3, 16_384  # lines of a dead engine's log that go into the error, and where they are looked for
LONGEST_WORDS = 400  # characters of them


class EngineLog:
    """A new file for what an engine's process prints, locked by whoever still needs it."""

    def __init__(self) -> None:
        handle, path = tempfile.mkstemp(prefix=f"{PREFIX}{os.getpid()}-", suffix=".log")
        self._handle = handle
        # Two processes may hold it; a reader that gets it for itself alone knows that both are gone.
        fcntl.flock(handle, fcntl.LOCK_SH)
        self.path = Path(path)

    def last_words(self, secrets: Iterable[str] = ()) -> str:
        """The last lines, for an error: on one line, without secrets."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - LAST_BYTES))
                lines = file.read().decode(errors="replace").split("\n")
        except OSError:
            return ""
        words = [line.strip() for line in lines if line.strip()][-LAST_WORDS:]
        return excerpt(" | ".join(words), secrets, LONGEST_WORDS)

    def close(self) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self._handle)


def write_to(path: Path) -> None:
    """From now on what this process prints, its libraries and its children included, goes to the log at `path`."""
    output = os.open(path, os.O_WRONLY | os.O_APPEND)
    fcntl.flock(output, fcntl.LOCK_SH)
    for stream in (1, 2):
        os.dup2(output, stream)


def remove_stale_logs() -> None:
    """Remove the logs of runs that were killed: nobody else does."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*.log"):
        with suppress(OSError):  # another user's, or gone meanwhile
            _remove_if_stale(path)


def _remove_if_stale(path: Path) -> None:
    if (named := NAME.fullmatch(path.name)) is None:
        return
    handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        if os.fstat(handle).st_uid != os.getuid():
            return
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A process number may belong to another process by now, and after a restart of the machine: the lock decides,
        # unless the file is so new that its owner has not come to locking it.
        least_age = OLD if named["pid"] is None else SETTLED if _is_running(int(named["pid"])) else 0.0
        if time.time() - os.fstat(handle).st_mtime >= least_age:
            path.unlink(missing_ok=True)
    finally:
        os.close(handle)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
