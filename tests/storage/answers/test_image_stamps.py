from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pyarrow import fs

from storage.answers import image_stamps as module
from storage.answers.image_stamps import (
    AT_ONCE,
    SETTLED_NS,
    ImageStamps,
    Stamps,
    is_settled,
    look_at,
    read_image_stamps,
    write_image_stamps,
)
from storage.answers.prune import remove
from storage.answers.store import AnswerDirectory
from storage.datasets.base import FileDataset, ImageRecord, Stamp
from storage.datasets.records import ImageRecords
from tests.storage.contract import write_directory
from tests.storage.samples import box_records, records
from tests.storage.shards import faulty

RECORDS = (*records(2), *box_records(1))
FOUND = {0: (Stamp(10, 1_700_000_000_123_456_789), "ab" * 32), 2: (Stamp(0, -1, "crop, margin 0.25"), None)}


def stamps(found: Mapping[int, tuple[Stamp, str | None]] = FOUND) -> ImageStamps:
    """Stamps of RECORDS by their position."""
    made = ImageStamps.empty(len(RECORDS))
    for row, (stamp, digest) in found.items():
        made.stamps.put(row, [stamp])
        made.digests.put(row, digest)
    return made


def found_in(made: ImageStamps) -> dict[int, tuple[Stamp, str | None]]:
    names = ["", *made.stamps.views]
    return {
        int(row): (
            Stamp(int(made.stamps.size[row]), int(made.stamps.mtime_ns[row]), names[made.stamps.view[row]]),
            made.digests.text(row),
        )
        for row in np.flatnonzero(made.stamps.view)
    }


def read(directory: AnswerDirectory) -> dict[int, tuple[Stamp, str | None]]:
    return found_in(read_image_stamps(directory, RECORDS))


def test_written_stamps_are_read_and_polars_still_scans_the_directory(tmp_path: Path) -> None:
    directory = write_directory(str(tmp_path))
    assert read(directory) == {}
    write_image_stamps(directory, RECORDS, stamps())
    assert read(directory) == FOUND
    assert pl.scan_parquet(directory.path).collect().height == 5
    write_image_stamps(directory, RECORDS, stamps({}))
    assert read(directory) == {}


def test_images_are_found_in_another_order_and_others_are_counted(tmp_path: Path) -> None:
    directory = write_directory(str(tmp_path))
    write_image_stamps(directory, RECORDS, stamps())
    assert found_in(read_image_stamps(directory, RECORDS[::-1])) == {2: FOUND[0], 0: FOUND[2]}
    fewer = read_image_stamps(directory, ImageRecords.of(RECORDS[1::-1]))
    assert (found_in(fewer), fewer.others) == ({1: FOUND[0]}, 1)


def test_batches_in_the_order_of_the_records_need_no_index_until_one_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 1)
    directory = write_directory(str(tmp_path))
    stamped = {row: (Stamp(row, row, ""), f"{row:064x}") for row in range(len(RECORDS))}
    write_image_stamps(directory, RECORDS, stamps(stamped))
    with monkeypatch.context() as patch:
        patch.setattr(module, "IdIndex", None)
        assert found_in(read_image_stamps(directory, RECORDS)) == stamped
    swapped = [RECORDS[0], RECORDS[2], RECORDS[1]]
    assert found_in(read_image_stamps(directory, swapped)) == {0: stamped[0], 1: stamped[2], 2: stamped[1]}
    new = [RECORDS[0], RECORDS[1], replace(RECORDS[0], image_id="new"), RECORDS[2]]
    assert found_in(read_image_stamps(directory, new)) == {0: stamped[0], 1: stamped[1], 3: stamped[2]}


def test_another_question_set_has_the_last_ones_until_it_has_its_own(tmp_path: Path) -> None:
    directory = write_directory(str(tmp_path))
    write_image_stamps(directory, RECORDS, stamps())
    other = AnswerDirectory(directory.filesystem, f"{directory.parent}/questions=other")
    assert read(other) == FOUND
    write_image_stamps(other, RECORDS, stamps({}))
    assert read(other) == {}


def test_pruning_a_directory_removes_them(tmp_path: Path) -> None:
    directory = write_directory(str(tmp_path))
    write_image_stamps(directory, RECORDS, stamps())
    assert remove([directory]) == []
    assert not list(tmp_path.rglob("*.stamps"))


@pytest.mark.parametrize("operation", ["list", "read"])
def test_a_store_that_does_not_give_them_is_no_error(tmp_path: Path, operation: str) -> None:
    directory = write_directory(str(tmp_path))
    write_image_stamps(directory, RECORDS, stamps())
    broken = faulty(directory, OSError(errno.EIO, "Input/output error"), lambda what, path: what == operation)
    assert read(broken) == {}


def test_a_store_that_does_not_take_them_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    directory = AnswerDirectory(fs.LocalFileSystem(), f"{tmp_path}/file/teacher=a/questions=b")
    write_image_stamps(directory, RECORDS, stamps())
    assert read(directory) == {}


def test_only_files_that_are_there_are_stamped(tmp_path: Path) -> None:
    count = AT_ONCE + 2
    paths = {str(number): tmp_path / "none" for number in range(count)}
    for image_id in ("0", str(count - 1)):
        paths[image_id] = tmp_path / image_id
        paths[image_id].write_bytes(b"abc")
    shown = [ImageRecord(image_id=name, split="train", label=0, label_name="a") for name in paths]
    found = Stamps.empty(count)
    look_at(FileDataset(name="a", class_names=(), records=shown, places=paths), shown, found)
    assert np.flatnonzero(found.view).tolist() == [0, count - 1]
    assert found.mtime_ns[[0, -1]].tolist() == [paths[name].stat().st_mtime_ns for name in ("0", str(count - 1))]
    assert found.size[[0, -1]].tolist() == [3, 3]


@pytest.mark.parametrize(("before", "settled"), [(SETTLED_NS + 1, True), (SETTLED_NS, False), (0, False), (-5, False)])
def test_a_time_is_settled_when_it_is_clearly_past(before: int, settled: bool) -> None:
    now = 1_700_000_000 * 10**9
    assert is_settled(np.array([now - before]), now).tolist() == [settled]
