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
    assert difference.p == pytest.approx(test.pvalue)
    assert (difference.low, difference.high) == pytest.approx(tuple(test.confidence_interval()))
    alone = paired_difference({0: 0.6}, {0: 0.5})
    assert (alone.std, alone.low, alone.high, alone.p) == (None, None, None, None)
    same = paired_difference({0: 0.5, 1: 0.5}, {0: 0.5, 1: 0.5})
    assert (same.mean, same.std, same.p) == (0.0, 0.0, None)


def test_a_cell_is_compared_with_the_baseline_of_its_own_settings(config: StudentConfig, tmp_path: Path) -> None:
    cells = grid_of(config, [0], method=["makd"], train_fraction=[0.5, 1.0]).cells(tmp_path)
    top1 = {"base,train_fraction=0.5": 0.3, "makd,train_fraction=0.5": 0.4,
            "base,train_fraction=1.0": 0.5, "makd,train_fraction=1.0": 0.7}  # fmt: skip
    rows = [
        {"cell": cell.name, "seed": 0, **dict.fromkeys(("top1", "top5", "macro_accuracy"), top1[cell.name])}
        for cell in cells
    ]
    found = {
        s.cell: s for s in summarise(pl.DataFrame(rows), cells, {"method": "base"}, COMPARED) if s.metric == "top1"
    }
    assert found["base,train_fraction=0.5"].gain is None
    gains = {name: summary.gain.mean for name, summary in found.items() if summary.gain is not None}
    assert gains == pytest.approx({"makd,train_fraction=0.5": 0.1, "makd,train_fraction=1.0": 0.2})
