"""What messages and documents tell people to type exists: commands parse, options are known."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from flows.cli.app import app
from tests.conftest import PROJECT

SOURCES = ("flows", "storage", "teacher", "student")
DOCUMENTS = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*[a-z0-9]")
OTHERS = {"--return-tokens-as-token-ids"}  # options of a server
COMMAND = re.compile(r"['`](aspects [^'`]*)['`]")


@cache
def root() -> Any:
    return typer.main.get_command(app)


def resolve(words: list[str]) -> tuple[Any, list[str]]:
    """The innermost command that the words name, and the words after it."""
    command = root()
    while words and hasattr(command, "commands"):
        assert words[0] in command.commands, f"no command {words[0]!r}"
        command, words = command.commands[words[0]], words[1:]
    return command, words


def every_command(command: Any) -> Iterator[Any]:
    yield command
    for inner in getattr(command, "commands", {}).values():
        yield from every_command(inner)


def options_of(command: Any) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts} | {"--help"}


@cache
def messages() -> tuple[tuple[str, str], ...]:
    """Every string of our sources that is no docstring, with its place; X stands for what is filled in."""
    paths = [path for folder in SOURCES for path in sorted((PROJECT / folder).rglob("*.py"))]
    # Programs of their own are left out.
    return tuple(found for path in paths if "tiny" not in path.parts for found in strings_of(path))


def strings_of(path: Path) -> Iterator[tuple[str, str]]:
    """As `messages`, of one file."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    left_out = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    left_out |= {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in left_out:
            text = node.value
        else:
            continue
        yield f"{path.relative_to(PROJECT)}:{node.lineno}", text


def typed_in(document: Path) -> Iterator[str]:
    """The `aspects` commands in fenced blocks, each on one line."""
    for block in re.findall(r"^```(?:sh|bash|console)?\n(.*?)^```", document.read_text(encoding="utf-8"), re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            for part in line.split(" && "):
                if part.strip().removeprefix("$ ").startswith("aspects "):
                    yield part.strip().removeprefix("$ ")


def test_options_in_messages_exist() -> None:
    known = OTHERS.union(*(options_of(command) for command in every_command(root())))
    found = [(place, option) for place, text in messages() for option in OPTION.findall(text)]
    assert len(found) > 40
    assert [(place, option) for place, option in found if option not in known] == []


def test_commands_in_messages_exist() -> None:
    found = [(place, command) for place, text in messages() for command in COMMAND.findall(text)]
    assert len(found) > 10
    for place, typed in found:
        command, rest = resolve(shlex.split(typed)[1:])
        unknown = {word for word in rest if word.startswith("-")} - options_of(command)
        assert not unknown, (place, typed)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_in_documents_parse(document: Path) -> None:
    for typed in typed_in(document):
        command, rest = resolve(shlex.split(typed, comments=True)[1:])
        try:
            command.make_context("aspects", rest)
        except Exception as error:
            pytest.fail(f"{typed}: {error}")


def test_documents_have_commands() -> None:
    assert sum(len(list(typed_in(document))) for document in DOCUMENTS) > 10
