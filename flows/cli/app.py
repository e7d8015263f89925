"""The command `aspects`. The modules of this folder define its commands, and import slow libraries inside functions."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from flows.cli import (
    asking,
    corrections,
    exporting,
    labels,
    options,
    predicting,
    questions,
    scenes,
    settings,
    store,
    training,
    viewing,
)
from flows.cli.markup import echo

app = typer.Typer(
    name="aspects",
    help="Teach small image classifiers what a multimodal LLM knows.",
    pretty_exceptions_enable=False,
)
for group in (scenes, asking, training, predicting, exporting, settings, store, viewing):
    app.add_typer(group.app)
app.add_typer(labels.app, name="labels")
app.add_typer(questions.app, name="questions")
app.add_typer(corrections.app, name="corrections")
app.add_typer(store.maintenance, name="store")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        echo(f"aspects {version('aspects')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def configure(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and details.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Teach small image classifiers what a multimodal LLM knows."""
    if debug:
        os.environ["ASPECTS_DEBUG"] = "1"
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "DEBUG")
    options.require_command(context)
