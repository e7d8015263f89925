from pathlib import Path

import polars as pl
import pytest
import torch
from torch import Tensor

from storage.datasets import FileDataset
from student.classification import metrics
from student.classification.config import StudentConfig
from student.classification.examples import TeacherAnswers
from student.classification.experiment import run_experiment
from student.classification.grid import StudentGrid
from student.classification.metrics import COMPARED, METRICS, metric, score_labels


def test_scores_of_labels_are_shares() -> None:
    logits = torch.eye(6)[[0, 0, 2, 3]]
    scores = score_labels(logits, torch.tensor([0, 1, 2, 3]))
    assert scores["top1"] == 0.75
    assert scores["macro_accuracy"] == 0.75


def test_macro_accuracy_weighs_the_classes_alike() -> None:
    scores = score_labels(torch.eye(3)[[0, 0, 0, 0]], torch.tensor([0, 0, 0, 1]))
    assert (scores["top1"], scores["macro_accuracy"]) == (0.75, 0.5)


def test_top5_looks_at_five() -> None:
    logits = torch.arange(7.0).repeat(7, 1)
    assert score_labels(logits, torch.arange(7))["top5"] == pytest.approx(5 / 7)


def test_a_registered_metric_is_evaluated_stored_and_compared(
    config: StudentConfig, dataset: FileDataset, tmp_path: Path
) -> None:
    short = config.replace(epochs=1, warmup=0)
    grid = StudentGrid(settings=short.to_dict(), axes={"method": ["base"]}, seeds=[0])
    before = run_experiment(grid, dataset, TeacherAnswers(), tmp_path, progress=False)

    def images(class_logits_NC: Tensor, labels_N: Tensor) -> float:
        return float(len(labels_N))

    metric("images_seen")(images)
    try:
        # The run is there; its evaluation is older than the metric.
        after = run_experiment(grid, dataset, TeacherAnswers(), tmp_path, progress=False)
    finally:
        del METRICS["images_seen"]
        COMPARED.remove("images_seen")
    assert "images_seen" not in before.table
    assert after.table["images_seen"].to_list() == [float(after.images)]
    assert after.metric("images_seen")[0].mean == after.images
    assert pl.read_parquet(tmp_path / "results.parquet")["images_seen"].to_list() == [float(after.images)]


def test_a_metric_is_registered_once() -> None:
    with pytest.raises(ValueError, match="'top1' is registered twice"):
        metric("top1")(metrics.top1)
