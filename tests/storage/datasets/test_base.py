from __future__ import annotations

from pathlib import Path

import pytest

from storage.datasets.base import DatasetInvalid, select
from storage.datasets.folder import image_folder
from tests.storage.datasets.pictures import draw


def test_select_keeps_the_datasets_order(tmp_path: Path):
    for split in ("train", "val", "test"):
        draw(tmp_path / split / "daisy" / "1.png")
    dataset = image_folder(tmp_path)
    assert [record.split for record in select(dataset, ["test", "train"])] == ["train", "test"]


def test_select_refuses_a_split_that_is_not_there(tmp_path: Path):
    draw(tmp_path / "train" / "daisy" / "1.png")
    with pytest.raises(DatasetInvalid, match="has no split 'tset'; it has train"):
        select(image_folder(tmp_path), ["tset"])
