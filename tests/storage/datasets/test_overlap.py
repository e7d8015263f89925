from __future__ import annotations

from pathlib import Path

import pytest

from storage.datasets import overlap
from storage.datasets.folder import image_folder
from storage.datasets.overlap import shared_images
from tests.storage.datasets.tiny_images import draw, write


def dataset(root: Path, *, copies: int = 1) -> Path:
    for number in range(3):
        draw(root / "train" / "a" / f"{number}.png", shade=number)
        draw(root / "test" / "a" / f"{number}.png", shade=100 + number)
    for number in range(copies):
        draw(root / "test" / "a" / f"copy{number}.png", shade=number)
    return root


def test_the_same_image_in_two_splits_is_said(tmp_path: Path) -> None:
    draw(tmp_path / "train" / "a" / "again.png", shade=0)  # twice in one split is allowed
    found = shared_images(image_folder(dataset(tmp_path)))
    assert found == "1 image in more than one split: train/a/0.png = test/a/copy0.png"


def test_splits_without_a_common_image(tmp_path: Path) -> None:
    write(tmp_path / "train" / "a" / "empty.png", "")
    write(tmp_path / "test" / "a" / "empty.png", "")
    assert shared_images(image_folder(dataset(tmp_path, copies=0))) is None


@pytest.mark.parametrize(("limit", "value"), [("MOST_FILES", 6), ("MOST_BYTES", 100), ("MOST_SECONDS", 0)])
def test_a_large_or_slow_dataset_is_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(overlap, limit, value)
    assert shared_images(image_folder(dataset(tmp_path))) is None
