"""Show the results of a grid of students, classifiers or detectors: notes about this machine, a table and a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flows.cli.report import results_markdown, results_rows, results_title
from flows.work.host import Reporter

if TYPE_CHECKING:  # torch takes seconds
    import polars as pl

    from storage.datasets.base import ImageDataset
    from student.classification.config import StudentConfig
    from student.classification.grid import StudentGrid
    from student.core.results import Results
    from student.core.settings import TrainingConfig


def compared_students(config: StudentConfig, seeds: Sequence[int], images: ImageDataset) -> StudentGrid:
    """Return the grid of `base`, the twin of the config's method and that method, without repetition; of the method
    alone where no label is used, which the others need."""
    from student.classification.examples import training_records
    from student.classification.grid import StudentGrid, twin_method
    from student.classification.splits import all_labelled

    baseline, twin = "base", twin_method(config, labelled=all_labelled(training_records(images))) or "base"
    if config.labels_per_class == 0:
        baseline = twin = config.method
    methods = list(dict.fromkeys([baseline, twin, config.method]))
    return StudentGrid(settings=config.to_dict(), axes={"method": methods}, seeds=seeds, baseline={"method": baseline})


def say_processor_notes(reporter: Reporter, config: TrainingConfig) -> None:
    from student.core.processor import processor_notes

    for note in processor_notes(config):
        reporter.say(note)


def show_results(reporter: Reporter, results: Results, uses: pl.DataFrame | None, runs: Path) -> None:
    """Show results on the run's page and in runs/report.md; `uses` is the table of useful questions, if any."""
    from student.core.files import write_bytes

    reporter.table("results", results_rows(results), results_title(results))
    report = results_markdown(results, uses)
    write_bytes(runs / "report.md", report.encode())
    reporter.page("report", report, f"written to {runs / 'report.md'}")
