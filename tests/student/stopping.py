"""Training that ends before its last epoch, as a kill would end it."""

from collections.abc import Callable
from typing import Any


class Stopped(Exception):
    pass


def stop_after(epoch: int) -> Callable[[Any], None]:
    """What `on_epoch` is given to end training after `epoch`."""

    def stop(log: Any) -> None:
        if log.epoch == epoch:
            raise Stopped

    return stop
