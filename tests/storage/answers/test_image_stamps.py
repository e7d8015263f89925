from __future__ import annotations

import errno
from pathlib import Path

import polars as pl
import pytest
from pyarrow import fs

from storage.answers.image_stamps import (
    AT_ONCE,
    SETTLED_NS,
    ImageStamps,
    is_settled,
    look_at,
    read_image_stamps,
    write_image_stamps,
)
from storage.answers.prune import remove
from storage.answers.store import AnswerDirectory
from storage.datasets.base import FileDataset, Stamp
from tests.storage.contract import write_directory
from tests.storage.shards import faulty

STAMPS: ImageStamps = {
    "train/a/0.png": (Stamp(10, 1_700_000_000_123_456_789), "ab" * 32),
    "train/ü.png#3": (Stamp(0, -1, "crop, margin 0.25"), None),
}


def test_written_stamps_are_read_and_polars_still_scans_the_directory(tmp_path: Path) -> None:
    directory = write_directory(str(tmp_path))
    assert read_image_stamps(directory) == {}
    write_image_stamps(directory, STAMPS)
    assert read_image_stamps(directory) == STAMPS
    assert pl.scan_parquet(directory.path).collect().height == 5
    write_image_stamps(directory, {})
    assert read_image_stamps(directory) == {}


def test_another_question_set_has_the_last_ones_until_it_has_its_own(tmp_path: Path) -> None:
    directory = write_directory(str(tmp_path))
    write_image_stamps(directory, STAMPS)
    other = AnswerDirectory(directory.filesystem, f"{directory.parent}/questions=other")
    assert read_image_stamps(other) == STAMPS
    write_image_stamps(other, {})
    assert read_image_stamps(other) == {}


def test_pruning_a_directory_removes_them(tmp_path: Path) -> None:
    directory = write_directory(str(tmp_path))
    write_image_stamps(directory, STAMPS)
    assert remove([directory]) == []
    assert not list(tmp_path.rglob("*.stamps"))


@pytest.mark.parametrize("operation", ["list", "read"])
def test_a_store_that_does_not_give_them_is_no_error(tmp_path: Path, operation: str) -> None:
    directory = write_directory(str(tmp_path))
    write_image_stamps(directory, STAMPS)
    broken = faulty(directory, OSError(errno.EIO, "Input/output error"), lambda what, path: what == operation)
    assert read_image_stamps(broken) == {}


def test_a_store_that_does_not_take_them_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    directory = AnswerDirectory(fs.LocalFileSystem(), f"{tmp_path}/file/teacher=a/questions=b")
    write_image_stamps(directory, STAMPS)
    assert read_image_stamps(directory) == {}


def test_only_files_that_are_there_are_stamped(tmp_path: Path) -> None:
    count = AT_ONCE + 2
    paths = {str(number): tmp_path / "none" for number in range(count)}
    for image_id in ("0", str(count - 1)):
        paths[image_id] = tmp_path / image_id
        paths[image_id].write_bytes(b"abc")
    dataset = FileDataset(name="a", class_names=(), records=(), places=paths)
    found = look_at(dataset, list(paths))
    assert found == {name: Stamp(3, paths[name].stat().st_mtime_ns) for name in ("0", str(count - 1))}


@pytest.mark.parametrize(("before", "settled"), [(SETTLED_NS + 1, True), (SETTLED_NS, False), (0, False), (-5, False)])
def test_a_time_is_settled_when_it_is_clearly_past(before: int, settled: bool) -> None:
    now = 1_700_000_000 * 10**9
    assert is_settled(Stamp(1, now - before), now) is settled
