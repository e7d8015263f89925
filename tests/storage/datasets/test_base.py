from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from storage.datasets.base import DatasetInvalid, select
from storage.datasets.folder import image_folder
from tests.storage.datasets.tiny_images import draw


def test_select_keeps_the_datasets_order(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        draw(tmp_path / split / "daisy" / "1.png")
    dataset = image_folder(tmp_path)
    assert [record.split for record in select(dataset, ["test", "train"])] == ["train", "test"]


def test_select_refuses_a_split_that_is_not_there(tmp_path: Path) -> None:
    draw(tmp_path / "train" / "daisy" / "1.png")
    with pytest.raises(DatasetInvalid, match="has no split 'tset'; it has train"):
        select(image_folder(tmp_path), ["tset"])


def test_a_subset_is_small_when_pickled_and_reads_the_same(tmp_path: Path) -> None:
    for number in range(50):
        draw(tmp_path / "train" / "daisy" / f"{number:02d}.png", shade=number)
    dataset = image_folder(tmp_path)
    part = dataset.subset(dataset.records[3:5])
    sent = pickle.dumps(part)
    received = pickle.loads(sent)
    assert len(sent) < len(pickle.dumps(dataset)) / 5
    assert list(received.records) == list(dataset.records[3:5])
    for record in received.records:
        assert received.read(record.image_id) == dataset.read(record.image_id)


def test_a_stamp_is_size_and_modification_time(tmp_path: Path) -> None:
    path = tmp_path / "train" / "daisy" / "1.png"
    draw(path)
    dataset = image_folder(tmp_path)
    found = path.stat()
    assert dataset.stamp("train/daisy/1.png") == (found.st_size, found.st_mtime_ns, "")
    path.unlink()
    with pytest.raises(FileNotFoundError):
        dataset.stamp("train/daisy/1.png")
