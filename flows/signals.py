"""Handle signals that end a command: quickly, with one line and the signal's exit code, and without leftover processes.

The signal becomes an exception in the main thread, so that open resources are closed. A watchdog thread ends the
process after a few seconds, or at a second signal.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 3.5  # seconds for what is open to be closed
LINE = "error: interrupted; run the same command again to resume"
_received: list[int] = []
_callbacks: list[Callable[[], None]] = []
_notifying = threading.Lock()


class Ended(SystemExit):
    """A signal ends the command. It is not an Exception, so that error handlers do not catch it."""


def exit_code() -> int | None:
    """Return 128 plus the number of the signal that ends this command; None if there was none."""
    return 128 + _received[0] if _received else None


@contextmanager
def listening() -> Iterator[None]:
    """Raise Ended in the main thread, which must call this, for signals that arrive in the block.

    Signals that are already ignored stay ignored: `nohup` and background jobs of shells rely on it.
    """
    _received.clear()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    handled = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _raise_ended) for number in handled}
    hooks = sys.unraisablehook, threading.excepthook
    _silence_when_ended()
    wakeup_before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    # Reads signals also while the main thread is in a library that does not come back for a while.
    watch = threading.Thread(target=_watch, args=(reading, handled), name="signals", daemon=True)
    watch.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup_before)
        os.close(writing)
        watch.join()
        os.close(reading)
        sys.unraisablehook, threading.excepthook = hooks
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def notifying(other: Callable[[], None]) -> Iterator[None]:
    """Call `other` at the first signal in the block, in a separate thread.

    A main thread that closes resources may need more time than it has. The end waits for a started call, so `other` has
    to be fast.
    """
    _callbacks.append(other)
    try:
        yield
    finally:
        with _notifying:
            if other in _callbacks:
                _callbacks.remove(other)
                if _received:  # and this thread was faster
                    other()


def print_line() -> None:
    """Print the line about the signal."""
    # Not through sys.stderr, whose lock another thread may hold.
    with suppress(OSError):
        os.write(2, f"{LINE}\n".encode())


def leave(code: int) -> NoReturn:
    """End this process and all its descendants at once, without waiting for threads."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # closed, or its reader is gone
            stream.flush()
    _leave(code)


def _raise_ended(number: int, frame: FrameType | None) -> NoReturn:
    _received.append(number)
    raise Ended(128 + number)


def _watch(reading: int, handled: list[signal.Signals]) -> None:
    """End the process some time after the first signal, and at the second; return when the pipe is closed."""
    first: int | None = None
    while True:
        if not select.select([reading], [], [], None if first is None else PATIENCE)[0]:
            break
        if not (numbers := os.read(reading, 64)):
            return
        ending = [number for number in numbers if number in handled]
        if ending and first is not None:
            break
        if ending:
            threading.Thread(target=_notify_others, name="notifying", daemon=True).start()
        first, ending = (ending[0], ending[1:]) if ending else (first, [])
        if ending:
            break
    assert first is not None
    print_line()
    _leave(128 + first)


def _notify_others() -> None:
    with _notifying:
        while _callbacks:
            _callbacks.pop()()


def _leave(code: int) -> NoReturn:
    kill_descendants()
    os._exit(code)


def kill_descendants() -> None:
    """End all descendants of this process."""
    for pid in descendants(os.getpid()):
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """Return the descendants of the process `pid`."""
    tasks = Path(f"/proc/{pid}/task")
    if not Path("/proc").is_dir():
        from multiprocessing import active_children

        return [child.pid for child in active_children() if child.pid] if pid == os.getpid() else []
    children: list[int] = []
    for listed in tasks.glob("*/children"):
        with suppress(OSError):  # a thread that has just ended
            children += [int(child) for child in listed.read_text().split()]
    return [*children, *(later for child in children for later in descendants(child))]


def _silence_when_ended() -> None:
    """Suppress errors of threads and finalizers while the process is ending."""
    unraisable, uncaught = sys.unraisablehook, threading.excepthook

    def on_unraisable(what: sys.UnraisableHookArgs) -> None:
        if not _received:
            unraisable(what)

    def on_uncaught(what: threading.ExceptHookArgs) -> None:
        if not _received:
            uncaught(what)

    sys.unraisablehook, threading.excepthook = on_unraisable, on_uncaught
