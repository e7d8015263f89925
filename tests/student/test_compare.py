import json
from pathlib import Path

import polars as pl
import pytest

from storage.answers import Answers
from storage.datasets import FileDataset
from student.compare import ComparisonRow, Kind, compare, summarise
from student.config import ConfigInvalid, StudentConfig
from student.runs import EpochLog, load_run


def row(seed: int, student: Kind, top1: float) -> ComparisonRow:
    return ComparisonRow(
        seed=seed, student=student, best_epoch=1, val_top1=None, top1=top1, top5=top1, macro_accuracy=top1,
        aspect_auroc=None, aspect_ece=None, seconds=1.0,
    )  # fmt: skip


def test_gains_are_paired_by_seed():
    rows = [row(0, "base", 0.5), row(0, "distilled", 0.6), row(1, "distilled", 0.9), row(1, "base", 0.7)]
    summary = summarise(rows, "top1")
    assert summary.gains == pytest.approx((0.1, 0.2))
    assert summary.gain_mean == pytest.approx(0.15)
    assert summary.gain_std == pytest.approx(0.05 * 2**0.5)
    assert (summary.base_mean, summary.distilled_mean) == pytest.approx((0.6, 0.75))
    assert summarise(rows[:2], "top1").gain_std is None


def test_pairs_are_trained_evaluated_and_written(
    config: StudentConfig, dataset: FileDataset, answers: Answers, tmp_path: Path
):
    comparison = compare(config, dataset, answers, [0, 3], tmp_path, progress=False)
    assert [(row.seed, row.student) for row in comparison.rows] == [
        (0, "base"),
        (0, "distilled"),
        (3, "base"),
        (3, "distilled"),
    ]
    assert (comparison.images, comparison.train_images, comparison.val_images) == (12, 18, 6)
    assert [row.aspect_auroc is None for row in comparison.rows] == [True, False, True, False]
    assert json.loads((tmp_path / "comparison.json").read_text())["summary"][0]["metric"] == "top1"
    table = pl.read_parquet(tmp_path / "comparison.parquet")
    assert table["top1"].to_list() == [row.top1 for row in comparison.rows]
    assert not list(tmp_path.rglob("*.uint8"))


def test_a_stopped_comparison_goes_on(config: StudentConfig, dataset: FileDataset, answers: Answers, tmp_path: Path):
    class Stopped(Exception):
        pass

    def stop_in_second_run(kind: Kind, seed: int, log: EpochLog) -> None:
        if kind == "distilled" and log.epoch == 2:
            raise Stopped

    trained: list[tuple[Kind, int]] = []
    with pytest.raises(Stopped):
        compare(config, dataset, answers, [0], tmp_path / "stopped", progress=False, on_epoch=stop_in_second_run)
    went_on = compare(
        config,
        dataset,
        answers,
        [0],
        tmp_path / "stopped",
        progress=False,
        on_epoch=lambda kind, seed, log: trained.append((kind, log.epoch)),
    )
    assert trained == [("distilled", 3)]
    whole = compare(config, dataset, answers, [0], tmp_path / "whole", progress=False)
    assert [(row.top1, row.top5, row.val_top1) for row in went_on.rows] == [
        (row.top1, row.top5, row.val_top1) for row in whole.rows
    ]
    losses = [
        [log.loss for log in load_run(tmp_path / folder / "seed-0" / "distilled").epochs]
        for folder in ("whole", "stopped")
    ]
    assert losses[0] == losses[1]


def test_nothing_to_compare_is_one_line(config: StudentConfig, dataset: FileDataset, answers: Answers, tmp_path: Path):
    with pytest.raises(ConfigInvalid, match="alpha is 0"):
        compare(config.replace(alpha=0.0), dataset, answers, [0], tmp_path)
    for seeds in ([], [1, 1]):
        with pytest.raises(ConfigInvalid, match="give at least one, each once"):
            compare(config, dataset, answers, seeds, tmp_path)
