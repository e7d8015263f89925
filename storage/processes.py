"""Processes that work for another one."""

from __future__ import annotations

import os
import signal
import threading
import time


def serve_parent(parent: int) -> None:
    """Tie this process to `parent`, which has started it: end with it, even where that was killed, and leave Ctrl-C,
    which reaches every process of a terminal, to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A parent-death signal of the system would follow the parent's thread instead.
    threading.Thread(target=_end_with, args=(parent,), name="parent", daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
