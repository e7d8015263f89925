"""Run folders that release 0.1.0 wrote, and what it trained them on: they have neither versions nor digests.

`classifier` and `detector` are finished, `...-stopped` have a checkpoint after two of three epochs.
"""

from __future__ import annotations

import dataclasses
import tarfile
from pathlib import Path

import numpy as np

from storage.answers.read import Answers
from student.classification.config import StudentConfig
from student.detection.config import detection_recipe
from tests.student.small_backbone import SMALL_BACKBONE

ARCHIVE = Path(__file__).with_suffix(".tar.xz")
CLASSIFIER = StudentConfig(
    backbone=SMALL_BACKBONE, method="makd", image_size=32, epochs=3, batch_size=6, lr=0.05, warmup=1, val_fraction=0.25
)
DETECTOR = detection_recipe(
    "demo",
    backbone=SMALL_BACKBONE,
    image_size=64,
    epochs=3,
    batch_size=4,
    channels=8,
    hidden=4,
    finest_stride=16,
    optimizer="sgd",
    lr=0.01,
    momentum=0.0,
    proposals=20,
    warmup=1,
    method="both",
)


def plain_answers(answers: Answers) -> Answers:
    """The same questions and images with answers that are exact in float32 on every machine."""
    yes = np.where(answers.yes > answers.no, np.float32(-0.25), np.float32(-2.0))
    return dataclasses.replace(answers, yes=yes, no=np.float32(-2.25) - yes)


def unpack_old_runs(folder: Path) -> Path:
    """All of them in `folder`."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder
