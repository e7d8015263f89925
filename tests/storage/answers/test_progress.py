from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from storage.answers.progress import ShardSplits, measure_progress
from tests.storage.answers.test_columns import RECORDS, write


def test_rate_and_time_left_come_from_the_times_of_shards(tmp_path: Path) -> None:
    directory = write(tmp_path, complete=False)
    for number, name in enumerate(directory.shard_files()):
        os.utime(f"{directory.path}/{name}", (100 + 2 * number,) * 2)
    found = measure_progress(directory, 5, 20)
    assert found is not None
    assert (found.shards, found.images, found.rate, found.written) == (3, 15, 2.5, 104.0)
    assert found.seconds_left == pytest.approx(2.0)
    assert found.newest is not None
    assert [record.image_id for record in found.newest.answers.records] == [r.image_id for r in RECORDS[10:]]


def test_a_directory_without_shards_has_no_progress(tmp_path: Path) -> None:
    directory = write(tmp_path, complete=False)
    for name in directory.shard_files()[1:]:
        Path(directory.path, name).unlink()
    one = measure_progress(directory, 5, None)
    assert one is not None
    assert (one.rate, one.seconds_left, one.images) == (None, None, 5)
    Path(directory.path, "part-00000.parquet").unlink()
    assert measure_progress(directory, 5, None) is None


def test_splits_are_those_of_all_shards(tmp_path: Path) -> None:
    records = (*RECORDS[:7], *(dataclasses.replace(record, split="test") for record in RECORDS[7:]))
    directory, splits = write(tmp_path, records, complete=False), ShardSplits()
    last = Path(directory.path, directory.shard_files()[-1])
    data = last.read_bytes()
    later = sorted(Path(directory.path).glob("part-*"))[1:]
    for path in later:
        path.rename(path.with_suffix(".aside"))
    assert splits.of(directory) == ("train",)
    for path in later:
        path.with_suffix(".aside").rename(path)
    assert splits.of(directory) == ("train", "test")
    last.write_bytes(data[:100])
    assert ShardSplits().of(directory) == ("train", "test")
