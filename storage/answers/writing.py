"""Write to a store that may fail: retries, and a test write before any other work."""

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

WRITE_DELAYS = (0.5, 2.0, 5.0)  # seconds before each retry
PROBE_BYTES = 4096


@contextmanager
def writing(path: str) -> Iterator[None]:
    """Raise errors of writing in the block as StorageUnavailable."""
    try:
        yield
    except OSError as error:
        raise StorageUnavailable(
            f"cannot write {path} ({reason(error)}); what is finished is kept: correct that, then run the same command "
            "again"
        ) from error


def write_patiently(write: Callable[[], None], path: str, stopped: threading.Event | None = None) -> None:
    """Call `write`, and retry where that may help, unless `stopped`.

    Raises StorageUnavailable, and other errors of `write`.
    """
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
    """Write a small file next to the directory and remove it. Raises StorageUnavailable if that fails."""
    path = f"{directory.parent}/.probe-{directory.folder}-{uuid.uuid4().hex}"
    with writing(directory.parent):
        try:
            write_whole(directory.filesystem, path, bytes(PROBE_BYTES))
        finally:
            with contextlib.suppress(OSError):  # it does not exist, or the original error is raised
                directory.filesystem.delete_file(path)
