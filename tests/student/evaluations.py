"""Files of runs and experiments, written without training."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import polars as pl

from storage.filesystem import write_file
from student.core.files import write_json

CLASSES = ("daisy", "rose")


def write_run(folder: Path, *, classes: tuple[str, ...] = CLASSES, **values: object) -> Path:
    """The description of a classifier's run."""
    described = {
        "config": {"method": "recommended", "seed": 0, "backbone": "resnet18", "epochs": 30},
        "dataset": "flowers",
        "class_names": classes,
        "aspects": [{"key": "is_red", "text": "Is it red?", "link": "logit"}],
        "teacher": "0123456789ab",
        "digest": "0" * 16,
        "network": None,
    }
    write_json(folder / "run.json", {**described, **values})
    return folder


def write_evaluation(
    folder: Path, *, split: str = "test", top1: float = 0.75, rows: list[tuple[str, str, str, float]] | None = None
) -> None:
    """An evaluation on four images with its predictions: image_id, label, predicted, probability."""
    rows = rows or [
        ("test/daisy/0.png", "daisy", "daisy", 0.9),
        ("test/daisy/1.png", "daisy", "daisy", 0.6),
        ("test/rose/0.png", "rose", "daisy", 0.7),
        ("test/rose/1.png", "rose", "rose", 0.8),
    ]
    table = pl.DataFrame(
        {
            "image_id": [row[0] for row in rows],
            "label": [row[1] for row in rows],
            "predicted": [row[2] for row in rows],
            "probability": pl.Series([row[3] for row in rows], dtype=pl.Float32),
            "label_probability": pl.Series(
                [row[3] if row[1] == row[2] else 1 - row[3] for row in rows], dtype=pl.Float32
            ),
            "label_rank": pl.Series([1 if row[1] == row[2] else 2 for row in rows], dtype=pl.Int32),
        }
    )
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    write_file(folder / f"predictions-{split}.parquet", buffer.getvalue())
    names = sorted({row[1] for row in rows})
    evaluation = {
        "dataset": "flowers",
        "split": split,
        "digest": "0" * 16,
        "images": len(rows),
        "dropped_images": 0,
        "best_epoch": 1,
        "top1": top1,
        "top5": 1.0,
        "macro_accuracy": top1,
        "loss": 0.5,
        "per_class": [
            {
                "class_name": name,
                "images": sum(row[1] == name for row in rows),
                "top1": 0.5,
                "precision": 0.5,
                "f1": 0.5,
            }
            for name in names
        ],
        "aspects": [{"key": "is_red", "images": len(rows), "auroc": 0.9, "ece": 0.1}],
        "aspect_auroc": 0.9,
        "aspect_ece": 0.1,
        "reliability": {
            "temperature": 1.0,
            "ece": 0.05,
            "bins": [
                {"images": 2, "confidence": 0.65, "accuracy": 0.5},
                {"images": 2, "confidence": 0.85, "accuracy": 1.0},
            ],
        },
        "predictions": hashlib.sha256(buffer.getvalue()).hexdigest(),
    }
    write_json(folder / f"evaluation-{split}.json", evaluation)


def write_results(folder: Path) -> None:
    """Results of an experiment with a baseline and a method."""

    def cell(name: str, **values: object) -> dict[str, object]:
        shared = {"varied": {"method": name}, "metric": "top1", "values": [0.5, 0.52], "std": 0.01}
        return {"cell": name, **shared, "baseline": "base", "gain": None, "twin": None, "answers_gain": None, **values}

    gain = {"values": [0.1, 0.12], "mean": 0.11, "std": 0.01, "low": 0.08, "high": 0.14, "over": "seeds and images"}
    answers_gain = {**gain, "mean": 0.03, "low": 0.01, "high": 0.05}
    write_json(
        folder / "results.json",
        {
            "dataset": "flowers",
            "split": "test",
            "images": 4,
            "train_images": 24,
            "val_images": 0,
            "settings": {"epochs": 30},
            "students": [],
            "summary": [
                cell("base", mean=0.51),
                cell("recommended", mean=0.62, gain=gain, twin="labels-deep", answers_gain=answers_gain),
            ],
        },
    )
