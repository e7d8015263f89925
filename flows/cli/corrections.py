"""The commands about corrections: `aspects corrections list`, `undo`, `queue`, `accuracy`, `export` and `import`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flows.cli import options
from flows.cli.markup import TextTable, echo
from flows.cli.model_options import with_models
from flows.option_values import OptionInvalid
from flows.parameters import AnswersParameters, DatasetParameters, StoreParameters, TeacherChoice

if TYPE_CHECKING:
    from storage.corrections import CorrectionFolder, CurrentCorrections
    from storage.corrections.estimate import AccuracyEstimate
    from storage.corrections.exchange import Known
    from storage.corrections.queue import Queue

Runs = Annotated[
    list[Path] | None,
    typer.Option("--runs", help="Folder of runs: out-of-fold students in it take part; repeatable.", metavar="DIR"),
]
ID_LENGTH = 8  # displayed characters of a correction's id

app = typer.Typer(help="Labels and answers that people have corrected.")

Format = Annotated[
    Literal["labels", "answers", "fiftyone", "label-studio"],
    typer.Option(help="labels, answers: CSV tables. fiftyone, label-studio: JSON lines."),
]
Name = Annotated[str, typer.Option("--dataset", "-d", help="Name of the dataset in the store.")]


@app.callback(invoke_without_command=True)
def corrections(context: typer.Context) -> None:
    """Labels and answers that people have corrected."""
    options.require_command(context)


@app.command(name="list", epilog="Example: aspects corrections list --store store --dataset scenes")
@with_models
def list_corrections(
    place: StoreParameters,
    dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="Only the dataset of this name.")] = None,
    last: Annotated[int, typer.Option(help="Number of corrections to list.", min=1)] = 50,
) -> None:
    """List the corrections in effect, newest first."""
    from rich.console import Console

    from storage.corrections import CorrectionFolder, current_corrections
    from storage.corrections.folder import corrected_datasets

    for name in [dataset] if dataset else corrected_datasets(place.store):
        current = current_corrections(CorrectionFolder.open(place.store, name).read())
        table = TextTable(f"{name}: labels {len(current.labels):,}, answers {len(current.answers):,}")
        for heading in ("correction", "when (UTC)", "user", "image", "question", "old", "new"):
            table.column(heading, no_wrap=heading == "correction")
        for row in reversed(current.rows[-last:]):
            when, question = f"{row.at:%Y-%m-%d %H:%M:%S}", row.key or "(label)"
            old, new = row.old or "-", row.value or "unsure"
            table.row(row.correction[:ID_LENGTH], when, row.user, row.image_id, question, old, new)
        Console(highlight=False).print(table)


@app.command(epilog="Example: aspects corrections undo 3f6c01d2 --store store --dataset scenes")
@with_models
def undo(
    correction: Annotated[str, typer.Argument(help="Id of the correction, as listed.", metavar="CORRECTION")],
    place: StoreParameters,
    dataset: Name,
) -> None:
    """Undo a correction: the previous one takes effect again, or the dataset's label, or the teacher's answer."""
    from storage.corrections import CorrectionFolder

    folder = CorrectionFolder.open(place.store, dataset)
    row = folder.undo(folder.whole_id(correction))
    echo(f"undone: {row.key or 'label'} of {row.image_id}")


@app.command(epilog="Example: aspects corrections queue answers.csv -s store -d scenes")
@with_models
def queue(
    file: Annotated[Path, typer.Argument(help="CSV file to write, with an empty column 'yes'.", metavar="FILE")],
    place: StoreParameters,
    dataset: Name,
    chosen: TeacherChoice,
    count: Annotated[int, typer.Option("--count", "-n", help="Number of answers.", min=1)] = 50,
    runs: Runs = None,
) -> None:
    """Write the answers to check next: image, question and an empty cell for yes, no or unsure.

    Fill in the cells from the first row on, and import the file with --format answers; it may be incomplete. The
    columns probability and pool say how each answer was drawn; leave them as they are.
    """
    import polars as pl

    from storage.corrections import CorrectionFolder, current_corrections
    from storage.corrections.exchange import DRAWN_COLUMNS
    from storage.table_writer import open_table

    current = current_corrections(CorrectionFolder.open(place.store, dataset).read())
    items = _queue(place.store, dataset, chosen.teacher, runs or ()).next_items(current, count)
    rows = [(item.image_id, item.key, "", item.text, item.probability, item.pool) for item in items]
    columns = ["image_id", "key", "yes", "question", *DRAWN_COLUMNS]
    with open_table(file) as table:
        table.write(pl.DataFrame(rows, schema=columns, orient="row"))
    echo(f"{len(items)} answers to check: {file}")


@app.command(epilog="Example: aspects corrections accuracy -s store -d scenes")
@with_models
def accuracy(place: StoreParameters, dataset: Name, chosen: TeacherChoice) -> None:
    """Estimate the teacher's accuracy on each question from the corrected answers of the queue, with 95 % intervals."""
    from rich.console import Console

    from storage.corrections import CorrectionFolder, current_corrections
    from storage.corrections.estimate import estimate_accuracy

    current = current_corrections(CorrectionFolder.open(place.store, dataset).read())
    table = TextTable()
    table.column("question", no_wrap=True)
    for heading in ("answers", "unsure", "accuracy", "95 %"):
        table.column(heading, number=True)
    for estimate in estimate_accuracy(_queue(place.store, dataset, chosen.teacher), current):
        table.row(*_accuracy_cells(estimate))
    Console(highlight=False).print(table)


def _accuracy_cells(estimate: AccuracyEstimate) -> tuple[str, ...]:
    accuracy = interval = "-"
    if estimate.accuracy is not None:
        accuracy = f"{100 * estimate.accuracy:.1f} %"
        interval = f"{100 * estimate.low:.1f} .. {100 * estimate.high:.1f}"
    return estimate.key or "all questions", str(estimate.answered), str(estimate.unsure), accuracy, interval


def _queue(store: str, dataset: str, teacher: str | None, runs: Sequence[Path] = ()) -> Queue:
    """Raises OptionInvalid for a missing folder of runs."""
    from storage.answers.read import find_teacher_answers
    from storage.corrections.queue import Queue
    from student.classification.out_of_fold import expected_answers, find_out_of_fold, read_out_of_fold

    if missing := [folder for folder in runs if not folder.is_dir()]:
        raise OptionInvalid(f"--runs {missing[0]} is no folder; correct it, or leave it out")
    answers = find_teacher_answers(store, dataset, teacher, None)
    found = find_out_of_fold(runs, dataset)
    students = None if found is None else read_out_of_fold(found.parent)
    if runs and students is None:
        echo("no out-of-fold students in --runs: 'aspects labels audit --student' trains them")
    return Queue.of(answers, None if students is None else expected_answers(students, answers))


@app.command(
    name="export", epilog="Example: aspects corrections export labels.csv --format labels -s store -d data/scenes"
)
@with_models
def export_file(
    file: Annotated[Path, typer.Argument(help="File to write.", metavar="FILE")],
    format: Format,
    place: StoreParameters,
    dataset: DatasetParameters,
    image_prefix: Annotated[
        str | None, typer.Option(help="Prefix of each image's address, before its id; default: the dataset's files.")
    ] = None,
) -> None:
    """Write the corrections in effect as a CSV table, or as JSON lines of FiftyOne or Label Studio."""
    from storage.corrections.exchange import export_corrections

    _, current, known = _open(place.store, dataset, None)
    count = export_corrections(current, known, format, file, image_prefix)
    echo(f"{count:,} rows: {file}")


@app.command(
    name="import", epilog="Example: aspects corrections import labels.csv --format labels -s store -d data/scenes"
)
@with_models
def import_file(
    file: Annotated[Path, typer.Argument(help="File to read.", metavar="FILE")],
    format: Format,
    asked: AnswersParameters,
) -> None:
    """Record the corrections in a CSV table, or in JSON of FiftyOne or Label Studio.

    labels: columns image_id, label. answers: image_id, key, yes. Empty cells are skipped; unsure is a value. If one row
    is wrong, no row is recorded.
    """
    from storage.corrections.exchange import import_corrections

    folder, current, known = _open(asked.store, asked.dataset, asked.questions)
    rows = import_corrections(file, format, known, current)
    folder.record(rows)
    labels = sum(row.kind == "label" for row in rows)
    echo(f"recorded: {labels:,} labels, {len(rows) - labels:,} answers")


def _open(
    store: str, dataset: DatasetParameters, questions: str | None
) -> tuple[CorrectionFolder, CurrentCorrections, Known]:
    """Open the corrections of a dataset, and what files of corrections may be about: its images, and the questions of a
    set or else those that the store has answers to."""
    from storage.answers.read import complete_directories, read_answers
    from storage.corrections import CorrectionFolder, current_corrections
    from storage.corrections.exchange import Known
    from storage.questions import load_questions

    images = dataset.open()
    folder = CorrectionFolder.open(store, images.name)
    answered = [read_answers(directory) for directory in complete_directories(store, images.name)]
    asked = None if questions is None else load_questions(Path(questions).expanduser())
    return folder, current_corrections(folder.read()), Known.of(images, answered, asked)
