"""The table of an experiment's students, and each cell's differences from its baseline and from its twin."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from scipy import stats

from student.core.bootstrap import CONFIDENCE, Bootstrap
from student.core.grid import AnyConfig, Cell, Grid

ROUNDING = 1e-9  # differences of 3 / 12 - 1 / 12 and 4 / 12 - 2 / 12 are the same

Over = Literal["seeds and images", "images", "seeds"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Paired differences by seed, their mean, standard deviation (n - 1) and 95 % confidence interval of the mean.

    `over` says what varies in the interval: seeds and test images, or the images alone where there is one seed (both by
    student/core/bootstrap.py), or the seeds alone (Student's t) where single images have no scores. There is no
    interval, nor a standard deviation, where nothing varies.
    """

    values: tuple[float, ...]
    mean: float
    std: float | None
    low: float | None
    high: float | None
    over: Over | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CellSummary:
    """One metric of one cell over the seeds, and its differences from two other cells.

    `gain` is over `baseline`, None for the baseline itself. `answers_gain` is over `twin`, the cell that is the same
    but for what is learned from answers; None where there is no such cell, and then `twin` names the method that it
    would have. Without a twin nothing is learned from answers.
    """

    cell: str
    varied: Mapping[str, Any]
    metric: str
    values: tuple[float, ...]
    mean: float
    std: float | None
    baseline: str
    gain: Difference | None
    twin: str | None
    answers_gain: Difference | None


@dataclass(frozen=True, kw_only=True)
class Results:
    """All students of an experiment, one row of `table` each, and the summary of each cell and metric."""

    dataset: str
    split: str
    images: int
    train_images: int
    val_images: int
    settings: Mapping[str, Any]
    table: pl.DataFrame
    summary: tuple[CellSummary, ...]
    bootstrap: Bootstrap | None = None

    def metric(self, name: str) -> tuple[CellSummary, ...]:
        """The cells' summaries of one of `metrics`."""
        return tuple(summary for summary in self.summary if summary.metric == name)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the metrics, the main one first."""
        return tuple(dict.fromkeys(summary.metric for summary in self.summary))

    def difference(self, cell: str, other: str, metric: str = "top1") -> Difference:
        """`cell` minus `other`, paired by seed."""
        return compare(self.table, self.bootstrap, metric, cell, other)

    def to_dict(self) -> dict[str, Any]:
        return {
            **{name: getattr(self, name) for name in ("dataset", "split", "images", "train_images", "val_images")},
            "settings": dict(self.settings),
            "students": self.table.to_dicts(),
            "summary": [dataclasses.asdict(summary) for summary in self.summary],
        }


def summarise(
    table: pl.DataFrame,
    cells: Sequence[Cell[AnyConfig]],
    grid: Grid[AnyConfig],
    metrics: Sequence[str],
    bootstrap: Bootstrap | None = None,
) -> tuple[CellSummary, ...]:
    """Every metric of every cell, compared with the cell that has the baseline's settings and else the same, and with
    its twin where the grid has it."""
    found = []
    for metric, cell in itertools.product(metrics, cells):
        values = tuple(_by_seed(table, cell.name, metric).values())
        reference = Cell.of(cell.asked.replace(**grid.baseline), tuple(cell.varied)).name
        twin = grid.twin(cell.config)
        twin_cell = next((other.name for other in cells if other.config == twin), None)
        found.append(
            CellSummary(
                cell=cell.name,
                varied=cell.varied,
                metric=metric,
                values=values,
                mean=float(np.mean(values)),
                std=_std(values),
                baseline=reference,
                gain=None if reference == cell.name else compare(table, bootstrap, metric, cell.name, reference),
                twin=twin_cell or (None if twin is None else twin.method),
                answers_gain=None if twin_cell is None else compare(table, bootstrap, metric, cell.name, twin_cell),
            )
        )
    return tuple(found)


def paired_difference(values: Mapping[int, float], others: Mapping[int, float]) -> Difference:
    """`values` minus `others` of the same seed, with the interval of Student's t over the seeds."""
    differences = [value - others[seed] for seed, value in values.items()]
    low = high = None
    if len(differences) > 1 and np.ptp(differences) > ROUNDING:
        interval = stats.ttest_1samp(differences, 0.0).confidence_interval(CONFIDENCE)
        low, high = float(interval.low), float(interval.high)
    return Difference(
        values=tuple(differences),
        mean=float(np.mean(differences)),
        std=_std(differences),
        low=low,
        high=high,
        over=None if low is None else "seeds",
    )


def compare(table: pl.DataFrame, bootstrap: Bootstrap | None, metric: str, cell: str, other: str) -> Difference:
    """`cell` minus `other`, paired by seed; `table` has the columns cell, seed and `metric`."""
    paired = paired_difference(_by_seed(table, cell, metric), _by_seed(table, other, metric))
    interval = None if bootstrap is None else bootstrap.interval(metric, cell, other)
    if interval is None:
        return paired
    over: Over = "images" if len(paired.values) == 1 else "seeds and images"
    return dataclasses.replace(paired, low=interval[0], high=interval[1], over=over)


def _by_seed(table: pl.DataFrame, cell: str, metric: str) -> dict[int, float]:
    rows = table.filter(pl.col("cell") == cell)
    if rows.is_empty():
        raise KeyError(f"no students of cell '{cell}'")
    return dict(zip(rows["seed"].to_list(), rows[metric].to_list(), strict=True))


def _std(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None
