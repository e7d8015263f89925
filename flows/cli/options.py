"""Options and arguments of several commands that are in no group of parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.errors import USAGE_ERROR
from flows.option_values import OptionInvalid

RunDir = Annotated[Path, typer.Argument(help="Folder of one trained student.", metavar="RUN")]


def require_command(context: typer.Context) -> None:
    """Print the help of a command group that is called without a command, and end with a usage error."""
    if context.invoked_subcommand is None:
        if help := context.get_help():  # empty if rich has already printed it
            typer.echo(help)
        raise typer.Exit(USAGE_ERROR)


def required_questions(file: str | None) -> str:
    if file is None:
        raise OptionInvalid("--questions is missing; name a YAML file or a bundled set, e.g. --questions scenes")
    return file
