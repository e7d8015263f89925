"""The table of an experiment's students, and each cell's difference from its baseline in pairs of one seed."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from student.core.grid import Cell

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Paired differences by seed, their mean, and, from two seeds on, standard deviation (n - 1), the 95 % confidence
    interval of the mean and the p-value of Student's paired t-test, two-sided."""

    values: tuple[float, ...]
    mean: float
    std: float | None
    low: float | None
    high: float | None
    p: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CellSummary:
    """One metric of one cell over the seeds, and its difference from the baseline; None for the baseline itself."""

    cell: str
    varied: Mapping[str, Any]
    metric: str
    values: tuple[float, ...]
    mean: float
    std: float | None
    baseline: str
    gain: Difference | None


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

    def metric(self, name: str) -> tuple[CellSummary, ...]:
        """The cells' summaries of one of `metrics`."""
        return tuple(summary for summary in self.summary if summary.metric == name)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the metrics, the main one first."""
        return tuple(dict.fromkeys(summary.metric for summary in self.summary))

    def difference(self, cell: str, other: str, metric: str = "top1") -> Difference:
        """`cell` minus `other`, paired by seed."""
        return paired_difference(_by_seed(self.table, cell, metric), _by_seed(self.table, other, metric))

    def to_dict(self) -> dict[str, Any]:
        return {
            **{name: getattr(self, name) for name in ("dataset", "split", "images", "train_images", "val_images")},
            "settings": dict(self.settings),
            "students": self.table.to_dicts(),
            "summary": [dataclasses.asdict(summary) for summary in self.summary],
        }


def summarise(
    table: pl.DataFrame,
    cells: Sequence[Cell[Any]],
    baseline: Mapping[str, Any],
    metrics: Sequence[str],
) -> tuple[CellSummary, ...]:
    """Every metric of every cell, compared with the cell that has the baseline's settings and else the same."""
    found = []
    for metric, cell in itertools.product(metrics, cells):
        values = _by_seed(table, cell.name, metric)
        reference = Cell.of(cell.config.replace(**baseline), tuple(cell.varied)).name
        gain = None
        if reference != cell.name:
            gain = paired_difference(values, _by_seed(table, reference, metric))
        found.append(
            CellSummary(
                cell=cell.name,
                varied=cell.varied,
                metric=metric,
                values=tuple(values.values()),
                mean=float(np.mean(list(values.values()))),
                std=_std(list(values.values())),
                baseline=reference,
                gain=gain,
            )
        )
    return tuple(found)


def paired_difference(values: Mapping[int, float], others: Mapping[int, float]) -> Difference:
    """`values` minus `others` of the same seed."""
    differences = [value - others[seed] for seed, value in values.items()]
    low = high = p = None
    if len(differences) > 1 and len(set(differences)) > 1:
        test = stats.ttest_1samp(differences, 0.0)
        interval = test.confidence_interval(CONFIDENCE)
        low, high, p = float(interval.low), float(interval.high), float(test.pvalue)
    return Difference(
        values=tuple(differences), mean=float(np.mean(differences)), std=_std(differences), low=low, high=high, p=p
    )


def _by_seed(table: pl.DataFrame, cell: str, metric: str) -> dict[int, float]:
    rows = table.filter(pl.col("cell") == cell)
    if rows.is_empty():
        raise KeyError(f"no students of cell '{cell}'")
    return dict(zip(rows["seed"].to_list(), rows[metric].to_list(), strict=True))


def _std(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None
