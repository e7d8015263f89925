"""Columns of records are the same sequence as a list of them."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from storage.datasets import records as module
from storage.datasets.base import UNKNOWN, FileDataset, ImageRecord, select
from storage.datasets.records import ImageRecords, gathered, image_ids_of, splits_of

RECORDS = [
    ImageRecord(image_id=f"{split}/ü/{number}.png", split=split, label=number - 1, label_name="ab"[: number % 3])
    for split in ("train", "test", "unlabelled")
    for number in range(4)
]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 5)


def test_columns_are_the_same_sequence() -> None:
    columns = ImageRecords.of(iter(RECORDS))
    assert (len(columns), list(columns)) == (len(RECORDS), RECORDS)
    assert columns == RECORDS
    assert (columns[0], columns[-1], columns[3]) == (RECORDS[0], RECORDS[-1], RECORDS[3])
    assert columns[0].label == UNKNOWN
    assert columns != [*RECORDS[:-1], replace(RECORDS[-1], label=5)]
    with pytest.raises(IndexError):
        columns[len(RECORDS)]
    assert list(ImageRecords.of([])) == []


def test_columns_with_other_numbers_are_equal_if_their_records_are() -> None:
    columns = ImageRecords.of(RECORDS)
    assert columns[4:9] == ImageRecords.of(RECORDS[4:9])
    assert columns[4:9] != ImageRecords.of(RECORDS[3:8])
    for change in ({"split": "other"}, {"label": 7}, {"label_name": "c"}, {"image_id": "x"}):
        assert columns[4:9] != ImageRecords.of([*RECORDS[4:8], replace(RECORDS[8], **change)])


def test_few_records_are_a_list_and_many_are_columns() -> None:
    few, many = gathered(iter(RECORDS[:4])), gathered(iter(RECORDS))
    assert few == RECORDS[:4]
    assert isinstance(few, list)
    assert many == RECORDS
    assert isinstance(many, ImageRecords)


@pytest.mark.parametrize("part", [slice(0, 3), slice(4, 11), slice(9, 99), slice(5, 5), slice(-2, None)], ids=str)
def test_slices_share_the_columns_and_are_pickled_as_tuples(part: slice) -> None:
    columns = ImageRecords.of(RECORDS)
    found = columns[part]
    assert isinstance(found, ImageRecords)
    assert found.columns is columns.columns
    assert list(found) == RECORDS[part]
    assert list(found[1:3]) == RECORDS[part][1:3]
    assert pickle.loads(pickle.dumps(found)) == tuple(RECORDS[part])
    assert [name for ids in image_ids_of(found) for name in ids.to_pylist()] == [
        each.image_id for each in RECORDS[part]
    ]


@pytest.mark.parametrize("splits", [["train"], ["test"], ["train", "unlabelled"], ["unlabelled", "test"]], ids=str)
def test_splits_are_selected_as_in_a_list(splits: list[str]) -> None:
    datasets = [
        FileDataset(name="a", class_names=(), records=each, places={}) for each in (RECORDS, ImageRecords.of(RECORDS))
    ]
    of_list, of_columns = (select(dataset, splits) for dataset in datasets)
    assert list(of_columns) == list(of_list)
    assert splits_of(of_columns) == splits_of(of_list)
