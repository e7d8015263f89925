"""Options and arguments of several commands that are in no group of parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.cli.errors import USAGE_ERROR
from flows.option_values import OptionInvalid

Task = Annotated[
    Literal["classification", "detection"],
    typer.Option(help="detection: images with boxes, of a COCO or YOLO folder or torchvision:VOCDetection."),
]
Teacher = Annotated[
    str | None,
    typer.Option("--teacher", "-t", help="Fingerprint or TEACHER/QUESTIONS, where there are several (aspects show)."),
]
RunDir = Annotated[Path, typer.Argument(help="Folder of one trained student.", metavar="RUN")]


def require_command(context: typer.Context) -> None:
    """Print the help of a command group that is called without a command, and end with a usage error."""
    if context.invoked_subcommand is None:
        if help := context.get_help():  # empty if rich has already printed it
            typer.echo(help)
        raise typer.Exit(USAGE_ERROR)


def file_name(path: Path | None) -> str | None:
    """Return the path as flows take it."""
    return None if path is None else str(path)


def required_questions(file: str | None) -> str:
    if file is None:
        raise OptionInvalid("--questions is missing; name a YAML file or a bundled set, e.g. --questions scenes")
    return file
