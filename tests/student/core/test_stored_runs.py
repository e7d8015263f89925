"""Run folders read without torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from storage.filesystem import write_file
from student.core.stored_lookups import aspect_scores, predictions_about
from student.core.stored_runs import (
    find_results,
    find_runs,
    read_stored_evaluation,
    read_stored_predictions,
)
from tests.conftest import PROJECT
from tests.student.evaluations import write_evaluation, write_results, write_run


def test_runs_and_their_evaluations_are_found(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "grid" / "base" / "seed-0")
    write_evaluation(run_dir)
    (run,) = find_runs([tmp_path])
    assert (run.name, run.kind, run.dataset, run.finished, run.splits) == (
        "grid/base/seed-0",
        "classifier",
        "flowers",
        False,
        ["test"],
    )
    evaluation = read_stored_evaluation(run, "test")
    assert evaluation is not None
    assert (evaluation.top1, [score.class_name for score in evaluation.per_class]) == (0.75, ["daisy", "rose"])
    assert aspect_scores([run], "is_red", "flowers") == [
        {"run": run.name, "split": "test", "images": 4, "auroc": 0.9, "ece": 0.1}
    ]
    assert aspect_scores([run], "is_red", "another") == []
    (found,) = predictions_about([run], "test/rose/0.png", "flowers")
    assert (found["predicted"], found["label"], found["split"]) == ("daisy", "rose", "test")


def test_changed_files_are_read_again_and_other_predictions_are_not_shown(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run")
    write_evaluation(run_dir)
    (run,) = find_runs([tmp_path])
    assert read_stored_predictions(run, "test") is not None
    write_file(run_dir / "predictions-test.parquet", b"damaged")
    assert read_stored_predictions(run, "test") is None
    write_evaluation(run_dir, top1=0.5)
    evaluation = read_stored_evaluation(run, "test")
    assert evaluation is not None
    assert evaluation.top1 == 0.5
    (run_dir / "evaluation-test.json").write_text("{}")
    assert read_stored_evaluation(run, "test") is None


@pytest.mark.parametrize("content", ["", "{}", '{"version": 99}', '{"config": 3}'])
def test_unreadable_folders_are_left_out(tmp_path: Path, content: str) -> None:
    write_run(tmp_path / "whole")
    for name in ("run.json", "results.json"):
        write_file(tmp_path / "damaged" / name, content.encode())
    assert [run.name for run in find_runs([tmp_path])] == ["whole"]
    assert find_results([tmp_path]) == []


def test_results_have_their_intervals(tmp_path: Path) -> None:
    write_results(tmp_path / "grid")
    (results,) = find_results([tmp_path])
    base, method = results.main
    assert (base.cell, base.gain, method.twin) == ("base", None, "labels-deep")
    assert method.answers_gain is not None
    assert (method.answers_gain.low, method.answers_gain.high) == (0.01, 0.05)


def test_torch_is_not_imported() -> None:
    code = "import sys, student.core.stored_runs; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=os.environ, capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


def test_predictions_have_the_columns_that_are_shown(tmp_path: Path) -> None:
    write_evaluation(write_run(tmp_path / "run"))
    predictions = read_stored_predictions(find_runs([tmp_path])[0], "test")
    assert isinstance(predictions, pl.DataFrame)
    assert predictions.columns == [
        *("image_id", "label", "predicted", "probability", "label_probability", "label_rank"),
    ]
