"""Settings of students on a pretrained backbone, for the tests of frozen and of trained ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from student.classification.config import StudentConfig
from student.classification.model import create_network
from tests.student.small_backbone import SMALL_BACKBONE

VARIANTS: dict[str, dict[str, Any]] = {
    "linear": {},
    "hidden": {"hidden": 6, "drop_rate": 0.1},
    "views": {"views": 3, "policy": "trivial"},
    "own head": {"method": "makd-dual"},
    "inner stages": {"method": "recommended", "inner_stages": True},
    "average": {"ema": 0.9, "keep": "best", "val_fraction": 0.25},
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a network that nothing was trained on."""
    path: Path = tmp_path_factory.mktemp("weights") / "weights.pth"
    config = StudentConfig(backbone=SMALL_BACKBONE, image_size=32, epochs=1, method="base", seed=9)
    torch.save(create_network(config, outputs=5).state_dict(), path)
    return path


@pytest.fixture
def probe(weights: Path) -> StudentConfig:
    return StudentConfig(
        backbone=SMALL_BACKBONE,
        weights=str(weights),
        freeze=True,
        image_size=32,
        epochs=4,
        batch_size=6,
        lr=0.1,
        method="makd",
        alpha=1.0,
        val_fraction=0.0,
    )
