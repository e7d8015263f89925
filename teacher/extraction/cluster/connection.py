"""The connection to a Ray cluster, and what its nodes have."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from storage.errors import AspectsError, InputInvalid, RunFailed
from storage.platform.processes import ENDING
from storage.text import printable
from teacher.engines.config import first_line

CONNECT_SECONDS = 5.0  # to open a TCP connection
JOIN_SECONDS = 40.0  # to be accepted by the cluster; a Ray client gives up after 30
ADDRESS = re.compile(r"(?:auto|(?:ray://)?(?P<host>[\w.-]+|\[[0-9a-fA-F:]+\]):(?P<port>\d{1,5}))")


class ClusterInvalid(InputInvalid):
    """The cluster cannot be used as it is; the message says what, where and what to do."""


class ClusterUnreachable(RunFailed):
    """The cluster does not answer now."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node of the cluster that is alive, with its total resources."""

    node_id: str
    name: str
    cpus: int
    gpus: float


def check_address(address: str) -> None:
    """Raise ClusterInvalid unless `address` is that of a cluster and Ray is installed."""
    if ADDRESS.fullmatch(address) is None:
        raise ClusterInvalid(
            f"cluster {printable(address, 100)!r} is no address of a Ray cluster; give ray://HOST:10001, HOST:6379 on "
            "one of its nodes, or auto for the cluster of this machine (--cluster)"
        )
    if importlib.util.find_spec("ray") is None:
        raise ClusterInvalid("a cluster needs Ray, which is not installed here; run pip install 'aspects[ray]'")


def connect(address: str) -> None:
    """Connect this process to the cluster, unless it is connected.

    Raises ClusterInvalid and ClusterUnreachable.
    """
    check_address(address)
    # Ray prints the deaths of actors to this process's output, where they are reported already.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".*")
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # without a connection, its functions would join any other cluster
    import ray

    if ray.is_initialized():
        return
    _check_port(address)
    logging.getLogger("ray").setLevel(logging.ERROR)
    joined: Future[None] = Future()
    # In a thread of its own: Ray waits minutes for a server that is not Ray's.
    threading.Thread(target=_join, args=(address, joined), name="ray", daemon=True).start()
    try:
        with _own_signal_handlers():
            joined.result(JOIN_SECONDS)
    except TimeoutError as error:
        raise ClusterUnreachable(_unreachable(address, f"no answer within {JOIN_SECONDS:.0f} s")) from error
    except RuntimeError as error:
        if "version mismatch" in str(error).lower():
            reason = " ".join(str(error).split())
            raise ClusterInvalid(f"cluster {address} and this machine do not fit: {printable(reason, 300)}") from error
        raise ClusterUnreachable(_unreachable(address, first_line(error))) from error
    except Exception as error:  # Ray raises errors of many types
        raise ClusterUnreachable(_unreachable(address, first_line(error))) from error


def disconnect() -> None:
    """End the connection, if there is one, and with it all actors of this process."""
    import ray

    ray.shutdown()


@contextmanager
def reaching_cluster() -> Iterator[None]:
    """Raise ClusterUnreachable for errors of Ray in the block, which are of many types."""
    try:
        yield
    except AspectsError:
        raise
    except Exception as error:
        raise ClusterUnreachable(
            "the connection to the Ray cluster is lost; check 'ray status' on its head node, or start it again, then "
            "run the same command again to resume (--cluster)"
        ) from error


def alive_nodes() -> list[Node]:
    """Return the nodes of the connected cluster that are alive. Raises ClusterUnreachable."""
    import ray

    listed: Any = ray.nodes
    with reaching_cluster():
        nodes = listed()
    return [
        Node(
            node_id=node["NodeID"],
            name=node["NodeManagerHostname"],
            cpus=int(node["Resources"].get("CPU", 0)),
            gpus=float(node["Resources"].get("GPU", 0)),
        )
        for node in nodes
        if node["Alive"]
    ]


def cpus_for(workers: int, nodes: Sequence[Node]) -> int:
    """Return the largest number of CPUs for each worker such that all have a place on the nodes; 1 if there is none."""
    most = max((node.cpus for node in nodes), default=1)
    return next((each for each in range(most, 0, -1) if sum(node.cpus // each for node in nodes) >= workers), 1)


@contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """Put the handlers of signals back after the block: Ray installs its own, which print stack traces."""
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number in ENDING:
                if (handler := signal.getsignal(number)) is not None:
                    signal.signal(number, handler)


def _join(address: str, joined: Future[None]) -> None:
    import ray

    options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": logging.ERROR}
    try:
        ray.init(**options)
    except BaseException as error:  # raised again in the waiting thread
        joined.set_exception(error)
    else:
        logging.getLogger("ray.util.client.logsclient").setLevel(logging.ERROR)  # which Ray has changed
        joined.set_result(None)


def _check_port(address: str) -> None:
    found = ADDRESS.fullmatch(address)
    if found is None or found["host"] is None:
        return
    try:
        socket.create_connection((found["host"].strip("[]"), int(found["port"])), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ClusterUnreachable(_unreachable(address, getattr(error, "strerror", None) or str(error))) from error


def _unreachable(address: str, reason: str) -> str:
    return (
        f"cannot reach the Ray cluster {address} ({reason}); check 'ray status' on its head node, the address and the "
        "firewall, then run the same command again (--cluster)"
    )
