"""Print one line when the process crashes, e.g. by a segmentation fault in a library."""

from __future__ import annotations

import faulthandler
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from storage.text import printable

# Signals by which a process ends itself.
CRASHES = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL")
SHELL = "/bin/sh"
# A crashed process cannot write much itself: a shell waits for the first word of Python's fault handler.
PRINT_ON_INPUT = 'read -r fault && printf "\\n%s\\n" "$0" >&2'


@contextmanager
def reporting_crash(line: str) -> Iterator[None]:
    """Write `line` to stderr if this process crashes within the block, and nothing if it ends in any other way.

    Has no effect if Python's fault handler is already in use, by PYTHONFAULTHANDLER or an outer block of this kind, or
    if there is no shell.
    """
    if faulthandler.is_enabled() or not os.access(SHELL, os.X_OK):
        yield
        return
    with _watched(line) as sink:
        faulthandler.enable(sink, all_threads=False)
        try:
            yield
        finally:
            faulthandler.disable()


@contextmanager
def _watched(line: str) -> Iterator[int]:
    """Return a file descriptor; once something is written to it, another process writes `line` to stderr."""
    ours, sink = os.pipe()
    try:
        # In a session of its own: Ctrl-C reaches every process of a terminal.
        shell = subprocess.Popen(
            [SHELL, "-c", PRINT_ON_INPUT, printable(line)],
            stdin=ours,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
    finally:
        os.close(ours)
    try:
        yield sink
    finally:
        os.close(sink)
        shell.wait()
