"""Rendered scenes with right answers about images and boxes, and settings that train on them in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from storage.answers.read import Answers
from storage.datasets import DetectionDataset, open_detection_dataset
from storage.datasets.scenes.detection import write_detection_scenes
from storage.questions import QuestionSet, load_questions
from student.detection.config import DetectorConfig, detection_recipe
from student.detection.examples import DetectionAnswers
from tests.conftest import PROJECT

QUESTIONS = QuestionSet(load_questions(PROJECT / "questions" / "scenes.yaml").questions[:5])


def right_answers(scenes: Path, dataset: str, *, boxes: bool) -> Answers:
    """A teacher that is right and fairly sure about every image, or every box."""
    truth = pl.read_parquet(scenes / "ground_truth.parquet")
    truth = truth.filter(pl.col("image_id").str.contains("#") == boxes)
    p_yes = truth.select(QUESTIONS.keys).to_numpy().astype(np.float32) * 0.9 + 0.05
    count = len(truth)
    return Answers(
        dataset=dataset,
        teacher="abc123",
        questions=QUESTIONS,
        image_ids=tuple(truth["image_id"]),
        image_sha256=(None,) * count,
        splits=tuple(image_id.partition("/")[0] for image_id in truth["image_id"]),
        label_names=("",) * count,
        errors=(None,) * count,
        yes=np.log(p_yes),
        no=np.log1p(-p_yes),
    )


@pytest.fixture(scope="session")
def scenes_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("detection") / "scenes"
    write_detection_scenes(root, train=12, test=4, seed=1)
    return root


@pytest.fixture
def scenes(scenes_root: Path) -> DetectionDataset:
    return open_detection_dataset(str(scenes_root))


@pytest.fixture
def detection_answers(scenes_root: Path) -> DetectionAnswers:
    return DetectionAnswers(
        images=right_answers(scenes_root, "scenes", boxes=False),
        boxes=right_answers(scenes_root, "scenes.crop", boxes=True),
    )


@pytest.fixture
def detector_config() -> DetectorConfig:
    return detection_recipe(
        "demo",
        backbone="test_resnet",
        image_size=64,
        epochs=3,
        batch_size=4,
        channels=32,
        hidden=32,
        proposals=20,
        warmup=1,
        method="both",
        color_jitter=0.2,
        crop=True,
    )
