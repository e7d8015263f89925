"""The commands, options and defaults of the command line, against those written down in command_line.txt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from flows.cli.app import app

SNAPSHOT = Path(__file__).with_name("command_line.txt")


def command_line(command: Any, path: str = "aspects") -> Iterator[str]:
    """A line for each option and argument: command, names, whether it may be repeated, default."""
    for name, inner in getattr(command, "commands", {}).items():
        yield from command_line(inner, f"{path} {name}")
    for parameter in command.params:
        argument = parameter.param_type_name == "argument"
        names = parameter.metavar if argument else " ".join(parameter.opts)
        repeated = " (repeatable)" if parameter.multiple else ""
        default = None if callable(parameter.default) else parameter.default
        yield f"{path} {names}{repeated}: {'required' if parameter.required else default}"


def test_commands_options_and_defaults_are_those_of_the_snapshot() -> None:
    found = sorted(command_line(typer.main.get_command(app)))
    assert found == SNAPSHOT.read_text(encoding="utf-8").splitlines()
