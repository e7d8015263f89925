"""Training over several machines: the processes that `torchrun` starts, one for each device.

All of them are given the same command. The first process runs it; the others wait until it trains, are sent what it
trains, do their part, and wait again. So only the first one reads options, locks and writes folders, and prints.
"""

from __future__ import annotations

import itertools
import os
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from storage.platform.processes import serve_parent

POLL = 0.1  # seconds


@dataclass(frozen=True)
class Torchrun:
    """This process among those of torchrun: its number `rank` of `world`, `local` of them on this machine."""

    rank: int
    world: int
    local: int

    @property
    def machines(self) -> int:
        return self.world // self.local

    @classmethod
    def current(cls) -> Torchrun | None:
        """None where torchrun has not started this process, or no other one."""
        if "TORCHELASTIC_RUN_ID" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
            return None
        names = ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
        return cls(*(int(os.environ[name]) for name in names))


@contextmanager
def leading() -> Iterator[None]:
    """What the first process does; the others end with the block."""
    try:
        yield
    finally:
        _Messages().send(None)


def call_others(*arguments: Any) -> None:
    """Let the other processes call what they gave to `follow` with picklable arguments."""
    _Messages().send(arguments)


def follow(work: Callable[..., None]) -> None:
    """What every other process does: call `work` with what the first one gives to `call_others`, until that ends."""
    serve_parent(os.getppid())
    messages = _Messages()
    while (arguments := messages.receive()) is not None:
        work(*arguments)


class _Messages:
    """Numbered messages of the first process in torchrun's own key-value store."""

    _number = itertools.count()
    _store: Any = None

    def __init__(self) -> None:
        if _Messages._store is None:
            # torch takes seconds, and most commands do not train
            from torch.distributed import PrefixStore  # type: ignore[attr-defined]
            from torch.distributed.rendezvous import rendezvous

            store, _, _ = next(rendezvous("env://"))
            _Messages._store = PrefixStore("aspects", store)

    def send(self, message: Any) -> None:
        self._store.set(str(next(self._number)), pickle.dumps(message))

    def receive(self) -> Any:
        """Wait without a time limit: the first process may do other work for hours."""
        key = str(next(self._number))
        while not self._store.check([key]):
            time.sleep(POLL)
        return pickle.loads(self._store.get(key))
