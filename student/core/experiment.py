"""Train and evaluate every cell of a grid with every seed, and write the table of all students.

Students of one seed start from the same weights and see the same images in the same order, so only the settings differ.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from student.core.bootstrap import Bootstrap
from student.core.files import VERSION, RunInvalid, only_user, read_json, remove_leftovers, write_bytes, write_json
from student.core.grid import AnyConfig, Cell, Grid
from student.core.progress import titled
from student.core.results import Results, summarise

AnyLog = TypeVar("AnyLog")
RESULTS = "results.json"


@contextmanager
def experiment_folder(run_dir: Path) -> Iterator[None]:
    """The folder of an experiment, locked for this process while the block runs. Raises as `only_user`, and
    VersionUnsupported where a newer release has written its results."""
    with only_user(run_dir):
        remove_leftovers(run_dir)
        with suppress(FileNotFoundError, RunInvalid):  # damaged results are written again
            read_json(run_dir / RESULTS)
        yield


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A trained and evaluated student: its row of the table, and the logs of its epochs. `image_scores` are as for
    Bootstrap, None where there are no scores of single images."""

    row: Mapping[str, Any]
    epochs: Sequence[Any]
    images: int
    train_images: int
    val_images: int = 0
    image_scores: pl.DataFrame | None = None


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """Where students are evaluated, and the metrics that the summary compares, the main one first."""

    dataset: str
    split: str
    metrics: Sequence[str]


def run_cells(
    grid: Grid[AnyConfig], run_dir: Path, on: Evaluated, measure: Callable[[Cell[AnyConfig], int], Measured]
) -> Results:
    """Train and evaluate by `measure` every cell with every seed, seed by seed.

    Writes results.parquet, a row for each student, after every one of them, and results.json at the end. Metrics that a
    student has no value of are left out of the summary.
    """
    cells = grid.cells(run_dir)
    rows: list[dict[str, Any]] = []
    image_scores: dict[tuple[str, int], pl.DataFrame] = {}
    students = list(itertools.product(grid.seeds, cells))
    for number, (seed, cell) in enumerate(students, start=1):
        with titled(f"student {number} of {len(students)}, {cell.name}, seed {seed}"):
            measured = measure(cell, seed)
        rows.append(_table_row(cell, seed, measured, run_dir))
        if measured.image_scores is not None:
            image_scores[cell.name, seed] = measured.image_scores
        table = pl.DataFrame(rows, infer_schema_length=None)
        write_parquet(run_dir / "results.parquet", table)
    bootstrap = Bootstrap.of(image_scores) if len(image_scores) == len(rows) else None
    metrics = [name for name in on.metrics if table[name].null_count() == 0]
    results = Results(
        dataset=on.dataset,
        split=on.split,
        images=measured.images,
        train_images=measured.train_images,
        val_images=measured.val_images,
        settings={name: value for name, value in cells[0].asked.to_dict().items() if name not in cells[0].varied},
        table=table,
        summary=summarise(table, cells, grid, metrics, bootstrap),
        bootstrap=bootstrap,
    )
    write_json(run_dir / RESULTS, results.to_dict())
    return results


def _table_row(cell: Cell[Any], seed: int, measured: Measured, run_dir: Path) -> dict[str, Any]:
    seconds = sum(log.seconds for log in measured.epochs)
    return {
        **cell.columns(seed),
        **measured.row,
        "seconds": seconds,
        "images_per_second": sum(log.images_per_second * log.seconds for log in measured.epochs) / seconds,
        "run": str(cell.directory(run_dir, seed).relative_to(run_dir)),
    }


def write_parquet(path: Path, table: pl.DataFrame) -> None:
    """Write `table` to `path` atomically."""
    buffer = io.BytesIO()
    table.write_parquet(buffer, metadata={"version": str(VERSION)})
    write_bytes(path, buffer.getvalue())


def epochs_of(
    cell: Cell[Any], seed: int, on_epoch: Callable[[str, int, AnyLog], None] | None
) -> Callable[[AnyLog], None] | None:
    """`on_epoch` for the epochs of one student."""
    return None if on_epoch is None else lambda log: on_epoch(cell.name, seed, log)
