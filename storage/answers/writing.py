"""Writing to a store that may fail: what is worth another try, and a test before any work is done for it."""

from __future__ import annotations

import contextlib
import errno
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from storage.answers.store import AnswerDirectory
from storage.errors import StorageUnavailable
from storage.filesystem import reason, write_whole

WRITE_DELAYS = (0.5, 2.0, 5.0)  # seconds before a file is written again
PROBE_BYTES = 4096
PASSING_ERRNO = frozenset(
    getattr(errno, name)
    for name in (
        *("EINTR", "EAGAIN", "EBUSY", "ETIMEDOUT", "ECONNRESET", "ECONNABORTED", "ECONNREFUSED", "EPIPE"),
        *("EHOSTUNREACH", "ENETUNREACH", "ENETDOWN", "ENETRESET", "ESTALE"),
    )
)
# Of an object store pyarrow says no more than a text: Amazon's name of the error, or the status alone.
PASSING_TEXT = re.compile(
    r"AWS Error (INTERNAL_FAILURE|SERVICE_UNAVAILABLE|THROTTLING|SLOW_DOWN|REQUEST_TIMEOUT|NETWORK_CONNECTION)"
    r"|HTTP status (5\d\d|429|408)|HTTP response code (5\d\d|429|408)"
    r"|curlCode: (6|7|28|35|52|55|56)\b|timed? ?out|connection (was )?(reset|closed|aborted)",
    re.IGNORECASE,
)


def may_pass(error: BaseException) -> bool:
    """Whether writing again may help: a server's trouble, a connection, an interrupted call; not a full disk, missing
    permissions or anything that nobody has thought of."""
    cause = error.__cause__ if isinstance(error, StorageUnavailable) and error.__cause__ else error
    if isinstance(cause, OSError) and cause.errno is not None:
        return cause.errno in PASSING_ERRNO
    return isinstance(cause, OSError | StorageUnavailable) and PASSING_TEXT.search(str(cause)) is not None


@contextmanager
def writing(path: str) -> Iterator[None]:
    """Within it, what cannot be written raises StorageUnavailable."""
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
