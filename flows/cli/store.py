"""The commands `aspects store ...`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.cli import options
from flows.cli.markup import echo

app = typer.Typer(help="Look after a store.", no_args_is_help=True)


@app.callback()
def store() -> None:
    """Look after a store."""


@app.command(epilog="Example: aspects store prune --store store --questions questions")
def prune(
    store: options.Store = "store",
    questions: Annotated[
        list[Path] | None,
        typer.Option("--questions", "-q", help="Question sets to keep, files or folders; repeatable."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
) -> None:
    """List the answers whose questions no question set asks any more, and delete them on confirmation.

    Every set that differs in a key or a text from the files named here counts as one that nobody asks.
    """
    from flows.cli.pruning import known_sets
    from storage.answers.prune import find_unreferenced, remove, sweep

    places = questions or [Path("questions")]
    known = known_sets(places)
    unreferenced = find_unreferenced(store, known)
    sweep(store)
    found = [answers for answers in unreferenced if not answers.wanted]
    for answers in unreferenced:
        note = "  (kept: a set that is not yet extracted has some of its questions)" if answers.wanted else ""
        echo(f"{answers.bytes / 1e6:10,.2f} MB  {answers.name}{note}")
    if not found:
        echo(f"nothing in {store} to delete: {', '.join(map(str, places))} refer to all the rest")
        return
    total = f"{len(found)} directories, {sum(answers.bytes for answers in found) / 1e6:,.2f} MB"
    if not yes and not _confirmed(f"delete {total}?"):
        echo("nothing deleted")
        return
    # While the question waited, a run may have begun that can use some of them.
    unwanted = {answers.directory.path for answers in find_unreferenced(store, known) if not answers.wanted}
    kept = remove(answers.directory for answers in found if answers.directory.path in unwanted)
    echo(f"deleted {total}" if not kept else f"deleted, but for what another run is at work on: {total}")
    for directory in kept:
        echo(f"kept, another run is at work on it: {directory.path}")


def _confirmed(question: str) -> bool:
    """The answer of whoever sits at the terminal. Raises OptionInvalid where nobody does."""
    try:
        return typer.confirm(question)
    except typer.Abort:
        if sys.stdin is not None and sys.stdin.isatty():  # Ctrl-C
            raise
        raise options.OptionInvalid(
            "nothing deleted: there is no terminal to confirm at; look at the list, then add --yes"
        ) from None
