"""Writing to a store that may fail: retries, and a test before any work is done for it."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from storage.answers.store import AnswerDirectory
from storage.errors import StorageUnavailable
from storage.filesystem import reason, write_whole
from storage.retries import may_pass

WRITE_DELAYS = (0.5, 2.0, 5.0)  # seconds before a file is written again
PROBE_BYTES = 4096


@contextmanager
def writing(path: str) -> Iterator[None]:
    """A block in which errors of writing are raised as StorageUnavailable."""
    try:
        yield
    except OSError as error:
        raise StorageUnavailable(
            f"cannot write {path} ({reason(error)}); what is finished is kept: correct that, then run the same command "
            "again"
        ) from error


def write_patiently(write: Callable[[], None], path: str, stopped: threading.Event | None = None) -> None:
    """Call `write`, and again where that may help, unless `stopped`. Raises StorageUnavailable, and what else `write`
    raises."""
    waiting = stopped or threading.Event()
    for delay in WRITE_DELAYS:
        try:
            with writing(path):
                return write()
        except StorageUnavailable as error:
            if not may_pass(error) or waiting.wait(delay):
                raise
    with writing(path):
        write()


def probe(directory: AnswerDirectory) -> None:
    """Write a small file beside the directory and remove it. Raises StorageUnavailable where that is impossible."""
    path = f"{directory.parent}/.probe-{directory.folder}-{uuid.uuid4().hex}"
    with writing(directory.parent):
        try:
            write_whole(directory.filesystem, path, bytes(PROBE_BYTES))
        finally:
            with contextlib.suppress(OSError):  # there is none, or the error is on its way
                directory.filesystem.delete_file(path)
