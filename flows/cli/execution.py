"""Run the work of commands: in this process as plain Python, or as a flow run on the server of PREFECT_API_URL."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

if TYPE_CHECKING:  # not needed for --help
    from flows.cli.terminal import Terminal
    from flows.work.host import Host
    from flows.work.inputs import Inputs

# Defaults for commands that run a flow; the user's own values take precedence. Prefect reads them when imported.
SERVER_SETTINGS = {
    "DO_NOT_TRACK": "1",
    # `Terminal` prints the lines for the user; the server still gets every line.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
}

P = ParamSpec("P")
R = TypeVar("R")


def terminal() -> Terminal:
    """Return the terminal on standard error; standard output is for the results of a command only."""
    from rich.console import Console

    from flows.cli.terminal import Terminal

    return Terminal(Console(stderr=True))


def direct_host(reporter: Terminal, inputs: Inputs | None = None) -> Host:
    """Return the host of a plain command: this process, without a server."""
    from flows.work.host import Host
    from flows.work.inputs import Inputs
    from flows.work.shards import ThreadedShards

    return Host(reporter=reporter, open_shards=ThreadedShards(say=reporter.say), inputs=inputs or Inputs())


def carry_out(
    work: Callable[Concatenate[Host, P], R], inputs: Inputs | None = None, /, *args: P.args, **kwargs: P.kwargs
) -> R:
    """Run `work`, a function of `flows/work/`, and return its result.

    `inputs` are already opened by the command; a flow run opens its own. Raises the errors of `work`, and
    ServerUnreachable if the server of PREFECT_API_URL does not answer.
    """
    # A terminated engine leaves a lock of tqdm behind, which Python would report at exit.
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
