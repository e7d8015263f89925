"""A model that is none, and talks all the time: for tests of the process that models run in."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable

from teacher.engines.base import EngineUsage
from teacher.engines.config import TeacherInvalid


class Loud:
    calls_at_once = 1
    slow_because: str | None = None

    def __init__(self) -> None:
        self.usage = EngineUsage()
        self.released = threading.Event()

    def close(self) -> None:
        pass


def load_loud(key: str, *, fails: bool = False) -> Loud:
    for number in range(3):
        warnings.warn(f"warning {number}", stacklevel=1)
        print(f"warning {number}", file=sys.stderr)
    if fails:
        raise RuntimeError(f"no use with {key}")
    return Loud()


def load_unusable() -> Loud:
    raise TeacherInvalid("model bert takes no images")


def shout(model: Loud, number: int) -> int:
    print("warning", number)
    return number


def refuse(model: Loud, key: str) -> None:
    raise ValueError(f"no {key}")


def count(model: Loud, number: int, report: Callable[[int], None]) -> int:
    for one in range(number):
        report(one)
    return number


def wait_until_released(model: Loud, report: Callable[[str], None]) -> bool:
    report("waiting")
    return model.released.wait(timeout=60)


def release(model: Loud) -> None:
    model.released.set()
