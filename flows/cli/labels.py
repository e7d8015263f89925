"""The commands `aspects labels ...`, which import slow libraries inside functions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flows.cli import options
from flows.cli.evaluation import print_confused_pairs
from flows.cli.markup import TextTable, echo
from flows.cli.model_options import with_models
from flows.option_values import OptionInvalid
from flows.parameters import AnswersParameters, AskingParameters, FoldStudentParameters
from storage.parameters import Only, Overrides

if TYPE_CHECKING:
    import polars as pl

    from storage.answers.read import Answers
    from storage.datasets.base import ImageDataset
    from student.classification.label_audit import LabelAudit
    from student.classification.out_of_fold import OutOfFold

SUSPICIOUS = 3  # exit code: more labels are suspicious than --fail-above allows
GIVEN_HELP = {"store": "Judge the labels by these answers.", "splits": "Splits, separated by commas; default: all."}
NAMED = "; --out FILE has the most likely class of each, and the page Labels of 'aspects view' asks for it"

app = typer.Typer(help="Find wrong labels.")


@app.callback(invoke_without_command=True)
def labels(context: typer.Context) -> None:
    """Find wrong labels."""
    options.require_command(context)


@app.command(epilog="Example: aspects labels audit -d data/scenes -s store -o audit.parquet --fail-above 20")
@with_models
def audit(
    asked: Annotated[AnswersParameters, Only(("dataset", "questions", "teacher"))],
    students: Annotated[FoldStudentParameters, Only(("recipe", "settings", "folds", "runs"))],
    given: Annotated[dict[str, Any], Overrides(AskingParameters, ("store", "splits"), GIVEN_HELP)],
    student: Annotated[
        bool, typer.Option("--student", help="Judge the labels by students that were trained without them, too.")
    ] = False,
    corrections: Annotated[
        Literal["ignore", "use"], typer.Option(help="Whether to judge the labels as corrected in the store.")
    ] = "ignore",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Table to write: *.parquet, *.csv or *.jsonl.", metavar="FILE")
    ] = None,
    show: Annotated[int, typer.Option(min=0, help="Rows to print.")] = 20,
    threshold: Annotated[
        float, typer.Option(help="Probability of being wrong from which a label is suspicious.", min=0, max=1)
    ] = 0.5,
    fail_above: Annotated[
        int | None, typer.Option(min=0, help="End with exit code 3 if more labels are suspicious.")
    ] = None,
) -> None:
    """List labels by the probability that they are wrong.

    Every label is judged by a classifier that was fitted to the answers about other images, or by a student that was
    trained on other images, or by both. Images without a label get their most likely class.
    """
    store, splits = given.get("store"), given.get("splits")
    if store is None and not student and students.runs is None:
        raise OptionInvalid("labels are judged by answers (--store), by students (--student), or by both; give one")
    if corrections == "use" and store is None:
        raise OptionInvalid("--corrections use reads them from a store; give --store too")
    if out is not None:
        from storage.table_writer import require_table_name

        require_table_name(out.expanduser())
    from student.classification.label_audit import audit_labels

    images = asked.dataset.open()
    wanted = None if splits is None else _present_splits(images, splits)
    answers = None if store is None else _answers(asked.model_copy(update={"store": store}), images)
    if corrections == "use":
        images = _corrected(images, str(store), answers)
    trained = _students(students, images, wanted, answers) if student or students.runs is not None else None
    found = audit_labels(images, answers, trained, splits=wanted)
    if out is not None:
        _write(found, out.expanduser())
    _print(found, show, threshold)
    suspicious = len(found.suspicious(threshold))
    if fail_above is not None and suspicious > fail_above:
        raise typer.Exit(SUSPICIOUS)


def _present_splits(images: ImageDataset, names: list[str]) -> list[str]:
    """Return `names`. Raises DatasetInvalid for a missing split."""
    from storage.datasets.base import select

    select(images, names)
    return names


def _answers(asked: AnswersParameters, images: ImageDataset) -> Answers:
    from storage.answers.read import find_teacher_answers
    from storage.filesystem import open_store

    open_store(asked.store)
    return find_teacher_answers(asked.store, images.name, asked.teacher, asked.questions)


def _corrected(images: ImageDataset, store: str, answers: Answers | None) -> ImageDataset:
    """The images with their corrected labels. Raises CorrectionInvalid and StorageUnavailable."""
    from storage.corrections import CorrectionFolder, current_corrections
    from storage.corrections.apply import correct_labels, digests_of

    current = current_corrections(CorrectionFolder.open(store, images.name).read())
    corrected, applied = correct_labels(images, current, digests_of([] if answers is None else [answers]))
    echo(f"corrections: {applied}" if current.labels else f"store {store} has no corrected labels of '{images.name}'")
    return corrected


def _students(
    parameters: FoldStudentParameters, images: ImageDataset, splits: list[str] | None, answers: Answers | None
) -> OutOfFold:
    from student.classification.examples import TeacherAnswers
    from student.classification.fold_students import train_out_of_fold

    config = parameters.config()
    learned = TeacherAnswers(image=answers) if config.uses_answers else None
    return train_out_of_fold(
        config, images, parameters.folder(), folds=parameters.folds, splits=splits, teacher_answers=learned
    )


def _write(found: LabelAudit, out: Path) -> None:
    from storage.table_writer import open_table
    from student.classification.label_audit_table import flattened
    from student.core.files import writing

    with writing(out), open_table(out) as table:
        table.write(flattened(found.table) if out.suffix.lower() == ".csv" else found.table)
    echo(f"{len(found.table):,} images: {out}")


def _print(found: LabelAudit, rows: int, threshold: float) -> None:
    import polars as pl
    from rich.console import Console

    from student.classification.label_audit_table import JUDGED, UNLABELLED, flattened

    console = Console(highlight=False)
    judged = found.table.filter(pl.col("status") == JUDGED)
    sources = [name.removesuffix("_class") for name in judged.columns if name.endswith("_class")]
    shown = TextTable("suspicious labels")
    against = ["against"] if "against" in judged.columns else []
    for heading in ("image", "label", "wrong %", "suggested", *sources, *against):
        shown.column(heading, number=heading == "wrong %")
    for row in flattened(judged.head(rows)).iter_rows(named=True):
        classes = [_class_cell(row[f"{source}_class"], row[f"{source}_p"]) for source in sources]
        questions = [row[name] for name in against]
        shown.row(row["image_id"], row["label"], f"{100 * row['wrong']:.1f}", row["suggested"], *classes, *questions)
    if rows and len(judged):
        console.print(shown)
    unlabelled = found.table.filter(pl.col("status") == UNLABELLED).head(rows)
    if len(unlabelled):
        console.print(_names(unlabelled))
    print_confused_pairs(console, "labels and most likely classes that differ most often", found.confused)
    suspicious = len(found.suspicious(threshold))
    echo(
        f"{suspicious:,} of {len(judged):,} labels are wrong with a probability of {100 * threshold:g} % or more, "
        f"by {' and '.join(sources)}; estimated share of wrong labels: {100 * found.wrong_share:.1f} %"
    )
    for status, count in found.table.filter(pl.col("status") != JUDGED)["status"].value_counts(sort=True).iter_rows():
        echo(f"{count:,} images are not judged: {status}" + (NAMED if status == UNLABELLED else ""))


def _names(unlabelled: pl.DataFrame) -> TextTable:
    shown = TextTable("images without a label, the least sure first")
    for heading in ("image", "suggested", "%"):
        shown.column(heading, number=heading == "%")
    for row in unlabelled.iter_rows(named=True):
        shown.row(row["image_id"], row["suggested"], f"{100 * row['p_suggested']:.1f}")
    return shown


def _class_cell(class_name: str | None, probability: float | None) -> str:
    return "-" if class_name is None or probability is None else f"{class_name} {100 * probability:.0f} %"
