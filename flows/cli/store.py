"""The commands about a store: `aspects import-answers`, `show`, `teachers` and `aspects store ...`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.cli import options
from flows.cli.markup import echo
from flows.cli.model_options import with_models
from flows.option_values import OptionInvalid
from flows.parameters import AskingParameters, QuestionSets, StoreParameters
from storage.parameters import Only

app = typer.Typer()
QUESTIONS_HELP = "Question set of the answers (YAML); for lavid, the text file with its questions."
maintenance = typer.Typer(help="Maintain a store.")


@app.command(
    name="import-answers",
    epilog="Example: aspects import-answers internvl2.json --format makd -d data/flowers -s store",
)
@with_models
def import_answers(
    file: Annotated[Path, typer.Argument(help="The answers: JSON, or a CSV or Parquet table.", metavar="FILE")],
    format: Annotated[Literal["makd", "lavid", "attributes"], typer.Option(help="Format of the file.")],
    about: Annotated[AskingParameters, Only(("dataset", "store", "splits"))],
    sets: Annotated[QuestionSets, Only(("questions",), help={"questions": QUESTIONS_HELP})],
    alias: Annotated[
        list[str] | None, typer.Option("--alias", help="DATASET_CLASS=FILE_CLASS for lavid; may be repeated.")
    ] = None,
) -> None:
    """Import answers that were computed elsewhere: MaKD, LaViD or human attributes.

    makd: JSON {"1.jpg": [0.9, 0.1]} by image. lavid: JSON {"rose": [[0.7, 0.3]]} by class, with its questions as text.
    attributes: CSV or Parquet with a column image_id or label_name, and one of 0..1, yes or no for each question; an
    empty cell is no answer. More in docs/store.md.
    """
    from flows.cli.answer_files import read_answers_file
    from flows.cli.report import import_lines
    from storage.datasets.base import training_splits
    from teacher.extraction.precomputed import import_answers as import_into_store

    questions = None if sets.questions is None else Path(sets.questions)
    answers = read_answers_file(file, format, questions, alias)
    dataset = about.dataset.open()
    splits = about.splits or training_splits(dataset)
    for line in import_lines(import_into_store(answers, dataset, splits, about.store)):
        echo(line)


@app.command(epilog="Example: aspects show --store store --dataset scenes")
@with_models
def show(
    place: StoreParameters,
    dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="Only the dataset of this name.")] = None,
    questions: Annotated[
        int, typer.Option(help="Number of the most, and of the least, informative questions.", min=0)
    ] = 3,
) -> None:
    """Show a store's datasets, teachers and questions, what is missing, and which questions distinguish classes."""
    from flows.cli.show import show_store

    show_store(place.store, dataset, questions)


@app.command(epilog="Example: aspects teachers")
def teachers() -> None:
    """List the teachers that have a short name, and their settings. Any other vision-language model works as well."""
    from flows.cli.report import print_teachers

    print_teachers()


@maintenance.callback(invoke_without_command=True)
def store(context: typer.Context) -> None:
    """Maintain a store."""
    options.require_command(context)


@maintenance.command(epilog="Example: aspects store prune --store store --questions questions")
@with_models
def prune(
    place: StoreParameters,
    questions: Annotated[
        list[Path] | None,
        typer.Option("--questions", "-q", help="Question sets to keep, files or folders; repeatable."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
) -> None:
    """List the answers to question sets that are no longer used, and delete them on confirmation.

    A set is used where a file named here has the same keys and texts. Corrections are always kept.
    """
    from storage.answers.prune import find_unreferenced, remove, sweep
    from storage.corrections.folder import sweep_corrections
    from teacher.questions.known_sets import known_sets

    places = questions or [Path("questions")]
    known = known_sets(places)
    unreferenced = find_unreferenced(place.store, known)
    sweep(place.store)
    sweep_corrections(place.store)
    found = [answers for answers in unreferenced if not answers.wanted]
    for answers in unreferenced:
        note = "  (kept: a set that is not yet extracted has some of its questions)" if answers.wanted else ""
        echo(f"{answers.bytes / 1e6:10,.2f} MB  {answers.name}{note}")
    if not found:
        echo(f"nothing in {place.store} to delete: {', '.join(map(str, places))} refer to all the rest")
        return
    total = f"{len(found)} directories, {sum(answers.bytes for answers in found) / 1e6:,.2f} MB"
    if not yes and not _confirmed(f"delete {total}?"):
        echo("nothing deleted")
        return
    # A run that can use some of them may have started while the prompt was open.
    unwanted = {answers.directory.path for answers in find_unreferenced(place.store, known) if not answers.wanted}
    kept = remove(answers.directory for answers in found if answers.directory.path in unwanted)
    echo(f"deleted {total}" if not kept else f"deleted, except for directories that another run uses: {total}")
    for directory in kept:
        echo(f"kept, another run uses it: {directory.path}")


@maintenance.command(epilog="Example: aspects store compact --store store")
@with_models
def compact(place: StoreParameters) -> None:
    """Join the small files of complete directories in larger ones: a store of millions of images is scanned faster.

    Answers and fingerprints stay the same. Not while something reads the store.
    """
    from storage.answers.compact import compact_store

    changed, skipped = compact_store(place.store)
    for one in changed:
        echo(f"{one.before:,} files -> {one.after:,}  {'/'.join(one.directory.path.split('/')[-3:])}")
    for directory in skipped:
        echo(f"kept, it is not complete or another run uses it: {directory.path}")
    if not changed:
        echo(f"store {place.store} has no files to join")


def _confirmed(question: str) -> bool:
    """Ask for confirmation at the terminal. Raises OptionInvalid if there is no terminal."""
    try:
        return typer.confirm(question)
    except typer.Abort:
        if sys.stdin is not None and sys.stdin.isatty():  # Ctrl-C
            raise
        raise OptionInvalid(
            "nothing deleted: there is no terminal to confirm at; check the list, then add --yes"
        ) from None
