"""Paths that are made from ids when they are looked up."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from storage.datasets import records
from storage.datasets.base import ImageRecord
from storage.datasets.folder import class_folders, image_folder
from storage.datasets.places import FilesBelow
from storage.datasets.records import ImageRecords
from tests.storage.datasets.tiny_images import draw

RECORDS = [ImageRecord(image_id=f"train/a/{number}.png", split="train", label=0, label_name="a") for number in range(9)]


@pytest.mark.parametrize("columns", [False, True])
def test_places_are_below_the_root_and_only_those_of_the_records(columns: bool) -> None:
    places = FilesBelow(Path("/data"), ImageRecords.of(RECORDS[:8]) if columns else RECORDS[:8])
    for found in (places, pickle.loads(pickle.dumps(places))):
        assert dict(found) == {record.image_id: Path("/data") / record.image_id for record in RECORDS[:8]}
        assert len(found) == 8
        assert RECORDS[8].image_id not in found
        with pytest.raises(KeyError):
            found[RECORDS[8].image_id]


def test_a_large_folder_is_the_same_dataset_in_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "train/rose/1.png",
        "train/daisy/b/ü.png",
        "train/daisy/10.png",
        "test/rose/2.png",
        "unlabelled/3.png",
    ):
        draw(tmp_path / name)
    draw(tmp_path / "train" / "_unlabelled" / "4.png")
    places = tmp_path / "train"
    few = image_folder(tmp_path), class_folders(places)
    monkeypatch.setattr(records, "CHUNK", 2)
    many = image_folder(tmp_path), class_folders(places)
    for one, other in zip(few, many, strict=True):
        assert isinstance(one.records, list)
        assert isinstance(other.records, ImageRecords)
        assert one == other
        part = other.subset(other.records[1:3])
        assert [part.read(record.image_id) for record in part.records] == [
            one.read(record.image_id) for record in one.records[1:3]
        ]
        with pytest.raises(KeyError):
            part.stamp(one.records[0].image_id)
