from __future__ import annotations

import dataclasses
from pathlib import Path

import polars as pl
import pytest
import torch

from storage.datasets import FileDataset
from student.classification.config import StudentConfig
from student.classification.evaluate import evaluate
from student.classification.examples import TeacherAnswers
from student.classification.experiment import run_experiment
from student.classification.metrics import score_labels
from student.classification.predictions import image_scores, prediction_table, read_predictions
from student.classification.training import train
from tests.student.grids import grid_of

NAMES = ("blue", "green", "red")


def test_each_image_has_its_prediction_and_the_place_of_its_label() -> None:
    logits = torch.tensor([[0.9, 0.05, 0.05], [0.2, 0.2, 0.6], [0.4, 0.4, 0.2]]).log()
    table = prediction_table(["a.jpg", "b.jpg", "c.jpg"], logits, torch.tensor([0, 1, 1]), NAMES)
    assert table.select("image_id", "label", "predicted", "label_rank").rows() == [
        ("a.jpg", "blue", "blue", 1),
        ("b.jpg", "green", "red", 3),  # after blue, which is as likely and comes first
        ("c.jpg", "green", "blue", 2),
    ]
    assert table["probability"].to_list() == pytest.approx([0.9, 0.6, 0.4])
    assert table["label_probability"].to_list() == pytest.approx([0.9, 0.2, 0.4])


def test_the_mean_of_the_images_scores_is_the_metric() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(200, 12), torch.randint(12, (200,)) ** 2 % 12
    table = prediction_table([str(n) for n in range(200)], logits, labels, [f"class {n}" for n in range(12)])
    means = image_scores(table).drop("image_id").mean().row(0, named=True)
    scores = score_labels(logits, labels)
    assert means == pytest.approx({name: scores[name] for name in means}, abs=1e-6)
    assert list(means) == ["top1", "top5", "macro_accuracy"]


def test_an_evaluation_leaves_its_predictions(config: StudentConfig, dataset: FileDataset, tmp_path: Path) -> None:
    train(config.replace(epochs=1, warmup=0, method="base"), dataset, TeacherAnswers(), tmp_path, progress=False)
    scores = evaluate(tmp_path, dataset)
    table = pl.read_parquet(tmp_path / "predictions-test.parquet")
    records = [record for record in dataset.records if record.split == "test"]
    assert table.select("image_id", "label").rows() == [(record.image_id, record.label_name) for record in records]
    assert (table["label"] == table["predicted"]).mean() == scores.top1
    found = read_predictions(tmp_path, "test", scores.predictions)
    assert found is not None
    assert found.equals(table)
    (tmp_path / "predictions-test.parquet").write_bytes(b"PAR1")
    assert read_predictions(tmp_path, "test", scores.predictions) is None
    assert read_predictions(tmp_path, "test", None) is None


def test_runs_without_predictions_are_evaluated_again_and_not_trained(
    config: StudentConfig, dataset: FileDataset, tmp_path: Path
) -> None:
    grid = grid_of(config.replace(epochs=1, warmup=0), [0], method=["base"])
    place = tmp_path / "base" / "seed-0"

    def run() -> pl.DataFrame:
        return run_experiment(grid, dataset, TeacherAnswers(), tmp_path, progress=False).table

    table = run()
    weights = (place / "student.safetensors").stat().st_mtime_ns
    before = (place / "evaluation-test.json").stat().st_mtime_ns
    assert run().equals(table)
    assert (place / "evaluation-test.json").stat().st_mtime_ns == before
    (place / "predictions-test.parquet").unlink()
    assert run().equals(table)
    assert (place / "predictions-test.parquet").exists()
    assert (place / "student.safetensors").stat().st_mtime_ns == weights


def test_an_evaluation_without_predictions_is_read(config: StudentConfig, dataset: FileDataset, tmp_path: Path) -> None:
    train(config.replace(epochs=1, warmup=0, method="base"), dataset, TeacherAnswers(), tmp_path, progress=False)
    scores = evaluate(tmp_path, dataset)
    older = {name: value for name, value in scores.to_dict().items() if name != "predictions"}
    assert type(scores).from_dict(older) == dataclasses.replace(scores, predictions=None)
