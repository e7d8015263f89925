"""Show the results of a grid of students, classifiers or detectors: notes about this machine, a table and a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flows.cli.report import results_markdown, results_rows, results_title
from flows.work.host import Reporter

if TYPE_CHECKING:  # torch takes seconds
    import polars as pl

    from student.classification.config import StudentConfig
    from student.core.results import Results
    from student.core.settings import TrainingConfig


def compared_methods(config: StudentConfig) -> list[str]:
    """Return `base`, the twin of the config's method and that method, without repetition."""
    from student.classification.methods import twin_of

    return list(dict.fromkeys(["base", twin_of(config.method, frozen=config.freeze) or "base", config.method]))


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
