"""Runs without a server: Prefect's embedded one, and everything that is worth knowing on the terminal."""

from __future__ import annotations

import os

# For flows that this process runs itself. Whoever sets one of them decides otherwise.
DIRECT_RUN = {
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # Only what goes to the terminal, where the progress bar is: a server gets every line all the same.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    # The engine ends at once and leaves a lock of tqdm behind, which Python would report last of all.
    "PYTHONWARNINGS": "ignore:resource_tracker",
}


def direct_run() -> None:
    """Get ready to run a flow in this process, and to show it on the terminal."""
    for variable, value in DIRECT_RUN.items():
        os.environ.setdefault(variable, value)
    from rich.console import Console

    from flows.terminal import attach

    attach(Console(stderr=True))
