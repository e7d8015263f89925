"""Child processes that end with their parent, which handles their signals."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})


def serve_parent(parent: int, ignored: Collection[signal.Signals] = ENDING) -> None:
    """Tie this process to its `parent`: end with it, even if that is killed, and ignore signals that reach every
    process of a terminal or a service."""
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    # A parent-death signal of the system would follow the parent's thread instead.
    threading.Thread(target=_end_with, args=(parent,), name="parent", daemon=True).start()


@contextmanager
def without_signals() -> Iterator[None]:
    """Start processes in the block that ignore signals until they call `serve_parent`.

    Otherwise their interpreter would end with a traceback, which this process would take for a failure.
    """
    # Else it is started within, which takes the block away again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
