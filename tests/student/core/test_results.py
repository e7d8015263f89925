from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from scipy import stats

from student.classification.config import StudentConfig
from student.classification.metrics import COMPARED
from student.core.results import paired_difference, summarise
from tests.student.grids import grid_of


def test_differences_are_paired_by_seed_and_tested_by_student() -> None:
    difference = paired_difference({0: 0.6, 1: 0.9, 2: 0.8}, {2: 0.7, 0: 0.5, 1: 0.7})
    assert difference.values == pytest.approx((0.1, 0.2, 0.1))
    assert difference.mean == pytest.approx(0.4 / 3)
    test = stats.ttest_rel([0.6, 0.9, 0.8], [0.5, 0.7, 0.7])
    assert (difference.low, difference.high) == pytest.approx(tuple(test.confidence_interval()))
    alone = paired_difference({0: 0.6}, {0: 0.5})
    assert (alone.std, alone.low, alone.high, alone.over) == (None, None, None, None)
    same = paired_difference({0: 0.5, 1: 0.5}, {0: 0.5, 1: 0.5})
    assert (same.mean, same.std, same.over) == (0.0, 0.0, None)
    assert difference.over == "seeds"
    rounded = paired_difference({0: 1.0, 1: 8 / 12}, {0: 8 / 12, 1: 4 / 12})
    assert rounded.values[0] != rounded.values[1]  # by rounding alone, which no interval is of
    assert (rounded.low, rounded.high, rounded.over) == (None, None, None)


def test_a_cell_is_compared_with_the_baseline_of_its_own_settings(config: StudentConfig, tmp_path: Path) -> None:
    grid = grid_of(config, [0], method=["makd"], train_fraction=[0.5, 1.0])
    cells = grid.cells(tmp_path)
    top1 = {"base,train_fraction=0.5": 0.3, "makd,train_fraction=0.5": 0.4,
            "base,train_fraction=1.0": 0.5, "makd,train_fraction=1.0": 0.7}  # fmt: skip
    rows = [
        {"cell": cell.name, "seed": 0, **dict.fromkeys(("top1", "top5", "macro_accuracy"), top1[cell.name])}
        for cell in cells
    ]
    found = {s.cell: s for s in summarise(pl.DataFrame(rows), cells, grid, COMPARED) if s.metric == "top1"}
    assert found["base,train_fraction=0.5"].gain is None
    gains = {name: summary.gain.mean for name, summary in found.items() if summary.gain is not None}
    assert gains == pytest.approx({"makd,train_fraction=0.5": 0.1, "makd,train_fraction=1.0": 0.2})


def test_the_gain_of_the_answers_is_over_the_twin_where_the_grid_has_it(config: StudentConfig, tmp_path: Path) -> None:
    methods = ["makd", "recommended", "recommended-without-answers", "recommended-classes"]
    grid = grid_of(config.replace(alpha=None), [0], method=methods)
    cells = grid.cells(tmp_path)
    top1 = dict(zip(["base", *methods], [0.1, 0.3, 0.6, 0.4, 0.7], strict=True))
    table = pl.DataFrame([{"cell": cell.name, "seed": 0, "top1": top1[cell.name]} for cell in cells])
    found = {summary.cell: summary for summary in summarise(table, cells, grid, ["top1"])}
    twins = {name: summary.twin for name, summary in found.items()}
    assert twins == {
        "base": None,
        "makd": "base",
        "recommended": "recommended-without-answers",
        "recommended-without-answers": None,
        "recommended-classes": "labels-deep-1",
    }
    gains = {name: summary.answers_gain.mean for name, summary in found.items() if summary.answers_gain is not None}
    assert gains == pytest.approx({"makd": 0.2, "recommended": 0.2})
    alone = grid_of(config.replace(alpha=0.0, method="recommended"), [0], train_fraction=[0.5])
    assert [alone.twin(cell.config) for cell in alone.cells(tmp_path)] == [None, None]
