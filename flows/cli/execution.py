"""How commands carry out their work: in this process as plain Python, or as a flow run on the server that
PREFECT_API_URL names."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

if TYPE_CHECKING:  # --help needs none of them
    from flows.cli.terminal import Terminal
    from flows.work.host import Host
    from flows.work.inputs import Inputs

# Of a command that runs a flow; whoever sets one of them decides otherwise. Prefect reads them when it is imported.
SERVER_SETTINGS = {
    "DO_NOT_TRACK": "1",
    # What goes to the terminal is said there by ourselves; a server gets every line all the same.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
}

P = ParamSpec("P")
R = TypeVar("R")


def terminal() -> Terminal:
    """Standard output is for what a command was asked for; all the rest goes to standard error."""
    from rich.console import Console

    from flows.cli.terminal import Terminal

    return Terminal(Console(stderr=True))


def direct_host(reporter: Terminal, inputs: Inputs | None = None) -> Host:
    """This process, without any server."""
    from flows.work.host import Host
    from flows.work.inputs import Inputs
    from flows.work.shards import ThreadedShards

    return Host(reporter=reporter, open_shards=ThreadedShards(say=reporter.say), inputs=inputs or Inputs())


def carry_out(
    work: Callable[Concatenate[Host, P], R], inputs: Inputs | None = None, /, *args: P.args, **kwargs: P.kwargs
) -> R:
    """What `work` of `flows/work/` returns or raises. `inputs` are those that the command has opened already; a
    flow run opens its own. Raises ServerUnreachable where PREFECT_API_URL names a server that does not answer."""
    # The engine ends at once and leaves a lock of tqdm behind, which Python would report last of all.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")
    address = os.environ.get("PREFECT_API_URL")
    if not address:
        return work(direct_host(terminal(), inputs), *args, **kwargs)
    from flows.server.address import check_server

    check_server(address)
    for variable, value in SERVER_SETTINGS.items():
        os.environ.setdefault(variable, value)
    from flows.server.flow_runs import run_on_server

    return run_on_server(terminal(), work, *args, **kwargs)
