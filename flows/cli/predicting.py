"""`aspects predict`: a trained classifier's classes for images, with reasons, as a table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.markup import TextTable
from flows.cli.model_options import with_models
from flows.option_values import OptionInvalid
from flows.parameters import DatasetParameters, PredictionParameters
from storage.errors import RunFailed
from storage.parameters import Only

if TYPE_CHECKING:
    import polars as pl

    from student.classification.classifier import Classifier
    from student.classification.predict import Predictor, Source

FEW = 50  # images whose predictions are printed as a table

app = typer.Typer()


@app.command(epilog="Example: aspects predict runs/recommended/seed-0 images/new -o predictions.parquet")
@with_models
def predict(
    run: Annotated[Path, typer.Argument(help="Folder of a trained student, or of its export.", metavar="RUN")],
    dataset: Annotated[
        DatasetParameters | None,
        Only(("source", "name", "root", "download"), help={"source": "Images of a dataset, instead of PATHS."}),
    ],
    asked: PredictionParameters,
    paths: Annotated[
        list[str] | None, typer.Argument(help="Images, folders of images at any depth, or patterns.", metavar="PATHS")
    ] = None,
    split: Annotated[str | None, typer.Option(help="The dataset's split; default: test.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Table to write: *.parquet, *.csv or *.jsonl.", metavar="FILE"),
    ] = None,
) -> None:
    """Predict the classes of images, with calibrated probabilities and the aspects for and against each class.

    The column `error` has the reason of each image that cannot be read.
    """
    from storage.table_writer import require_table_name
    from student.classification.classifier import load_classifier
    from student.classification.predict import Predictor
    from student.core.devices import require_accelerator

    asked.require_one_threshold()
    if out is not None:
        require_table_name(out.expanduser())
    accelerator = require_accelerator(asked.accelerator)
    named = _images(paths or [], dataset, split)
    if out is None and len(named) > FEW:
        raise OptionInvalid(f"{len(named):,} images are too many to print; give -o predictions.parquet")
    classifier = load_classifier(run, accelerator=accelerator)
    columns = asked.columns(_threshold(classifier, run, asked.abstain_below, asked.abstain_for_precision))
    predictor = Predictor(classifier=classifier, columns=columns, name_column="path" if dataset is None else "image_id")
    failed = _write(predictor, named, out, asked.batch_size)
    _report(len(named), failed, out)


def _images(paths: list[str], dataset: DatasetParameters | None, split: str | None) -> list[Source]:
    """Return the images to predict. Raises OptionInvalid unless either paths or a dataset are given, and DatasetInvalid
    if there are no images."""
    from storage.datasets.base import select
    from storage.datasets.image_paths import image_paths
    from storage.images.decode import decode_image
    from student.classification.predict import Source, as_source
    from student.core.progress import note

    if bool(paths) == (dataset is not None):
        raise OptionInvalid("give either PATHS or a dataset (-d), e.g. aspects predict RUN images/new")
    if dataset is None:
        if split is not None:
            raise OptionInvalid("--split is for a dataset (-d); leave it out")
        found, notes = image_paths(paths)
        for line in notes:
            note(line)
        return [as_source(path) for path in found]
    images = dataset.open()

    def read(image_id: str) -> Source:
        return Source(name=image_id, open=lambda: decode_image(images.read(image_id)))

    return [read(record.image_id) for record in select(images, (split or "test",))]


def _threshold(classifier: Classifier, run: Path, below: float | None, precision: float | None) -> float | None:
    """Return the probability below which no class is predicted; report if probabilities are not calibrated."""
    from student.classification.calibration import HOW_TO_CALIBRATE
    from student.core.progress import note

    calibration = classifier.calibration
    if precision is not None:
        threshold = classifier.threshold_for(precision)
        assert calibration is not None  # else threshold_for has raised
        accepted, reached = calibration.accepted(threshold)
        note(
            f"no class is predicted below a probability of {threshold:.3f}; at and above it {100 * reached:.1f} % of "
            f"{accepted} of {calibration.images} calibration images are right"
        )
        return threshold
    if calibration is None:
        note(f"probabilities are not calibrated; {HOW_TO_CALIBRATE}")
    return below


def _write(predictor: Predictor, named: list[Source], out: Path | None, batch_size: int) -> int:
    """Write or print the table, and return the number of images that could not be read."""
    import polars as pl

    from storage.table_writer import open_table
    from student.classification.predict import flattened
    from student.core.files import writing
    from student.core.progress import ImageBar

    failed = 0

    def frames() -> Iterator[pl.DataFrame]:
        nonlocal failed
        with ImageBar("predicting", len(named), shown=out is not None) as bar:
            for frame in predictor.frames(named, batch_size=batch_size):
                failed += frame["error"].count()
                yield frame
                bar.advance(len(frame))

    if out is None:
        _print(flattened(pl.concat(frames())), predictor)
        return failed
    path = out.expanduser()
    with writing(path), open_table(path) as table:
        for frame in frames():
            table.write(flattened(frame) if path.suffix.lower() == ".csv" else frame)
    return failed


def _print(frame: pl.DataFrame, predictor: Predictor) -> None:
    """Print the table without the columns of every class and aspect, which no screen has room for."""
    from rich.console import Console

    from student.core.progress import note

    table, name_column = TextTable(), predictor.name_column
    shown = [name for name in ("reasons_for", "reasons_against") if name in frame.columns]
    for name in (name_column, "predicted", "%", *shown):
        table.column(name.replace("_", " "), number=name == "%")
    for row in frame.iter_rows(named=True):
        predicted = row["error"] or ("abstained" if row["abstained"] else row["predicted"])
        percent = "" if row["probability"] is None else f"{100 * row['probability']:.1f}"
        table.row(row[name_column], predicted, percent, *(str(row[name] or "") for name in shown))
    Console().print(table)
    if predictor.columns.probabilities or predictor.columns.aspects:
        note("the probabilities of all classes and aspects are columns of a file; give -o predictions.parquet")


def _report(images: int, failed: int, out: Path | None) -> None:
    """Report the counts. Raises RunFailed if no image could be read."""
    from flows.cli.markup import echo
    from student.core.progress import note

    if failed == images:
        raise RunFailed(f"none of {images:,} images could be read; the column 'error' has the reason of each")
    if failed:
        note(f"{failed:,} of {images:,} images could not be read; the column 'error' has the reason of each")
    if out is not None:
        echo(f"{images:,} predictions: {out}")
