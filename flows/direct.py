"""Flows that a command runs in its own process, without a server."""

from __future__ import annotations

import os

# Whoever sets one of them decides otherwise.
SETTINGS = {
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # Only what goes to the terminal, where the progress bar is: a server gets every line all the same.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    # The engine ends at once and leaves a lock of tqdm behind, which Python would report last of all.
    "PYTHONWARNINGS": "ignore:resource_tracker",
}


def get_ready() -> None:
    """Before Prefect is imported: from now on flows of this process show themselves on the terminal."""
    for variable, value in SETTINGS.items():
        os.environ.setdefault(variable, value)
    from rich.console import Console

    from flows.terminal import attach

    attach(Console(stderr=True))
