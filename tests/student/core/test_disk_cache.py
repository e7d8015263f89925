"""Reuse, resuming, damage, eviction and two processes at once of decoded images on disk."""

from __future__ import annotations

import dataclasses
import os
import shutil
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from storage.datasets import FileDataset, image_folder
from storage.datasets.base import ImageRecord
from storage.errors import InputInvalid, StorageUnavailable
from student.core import decoding, disk_cache
from student.core.decoding import ImageSource
from student.core.disk_cache import DiskCache, default_cache_folder, key_of
from student.core.resizing import TrainingShrink


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counting(FileDataset):
    """Counts what is read, and fails at the image `stop`."""

    reads: Counter[str] = dataclasses.field(default_factory=Counter)
    stop: str | None = None

    def read(self, image_id: str) -> bytes:
        if image_id == self.stop:
            raise KeyboardInterrupt
        self.reads[image_id] += 1
        return super().read(image_id)


def source_of(dataset: FileDataset, stop: str | None = None, size: int = 37) -> ImageSource:
    counting = Counting(
        name=dataset.name, class_names=dataset.class_names, records=dataset.records, places=dataset.places, stop=stop
    )
    return ImageSource(dataset=counting, records=dataset.records, preparation=TrainingShrink(size=size))


def reads(source: ImageSource) -> int:
    assert isinstance(source.dataset, Counting)
    return source.dataset.reads.total()


def pixels(source: ImageSource, folder: Path, limit: float = 1e9) -> bytes:
    with DiskCache(folder, limit).open(source, 100_000, progress=False) as (decoded, path):
        assert len(decoded.shapes) == len(source.records)
        return path.read_bytes()


def test_a_second_run_reads_no_image(dataset: FileDataset, tmp_path: Path) -> None:
    first, second = source_of(dataset), source_of(dataset)
    assert pixels(first, tmp_path) == pixels(second, tmp_path)
    assert (reads(first), reads(second)) == (len(dataset.records), 0)


def test_the_key_follows_images_and_preparation_but_not_labels(image_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "images"
    shutil.copytree(image_root, root)
    source = source_of(image_folder(root))
    before = key_of(source)
    relabelled = [dataclasses.replace(record, label=0) for record in source.records]
    assert key_of(dataclasses.replace(source, records=relabelled)) == before
    assert key_of(dataclasses.replace(source, preparation=TrainingShrink(size=38))) != before
    assert key_of(dataclasses.replace(source, preparation=TrainingShrink(size=37, draft=True))) != before
    assert key_of(dataclasses.replace(source, records=source.records[1:])) != before
    assert reads(source) == 0
    os.utime(root / source.records[3].image_id, (1, 1))
    assert key_of(source) != before


class Unstamped:
    """A dataset whose images are no files."""

    notes: tuple[str, ...] = ()

    def __init__(self, dataset: FileDataset, change: bytes = b"") -> None:
        self.name, self.class_names, self.records = dataset.name, dataset.class_names, dataset.records
        self._dataset, self._change = dataset, change

    def read(self, image_id: str) -> bytes:
        return self._dataset.read(image_id) + self._change

    def subset(self, records: Sequence[ImageRecord]) -> Unstamped:
        return self


def test_images_without_files_are_known_by_some_of_their_bytes(dataset: FileDataset) -> None:
    source = source_of(dataset)
    keys = [key_of(dataclasses.replace(source, dataset=Unstamped(dataset, change))) for change in (b"", b"", b"1")]
    assert keys[0] == keys[1] != keys[2]


def test_a_killed_process_is_resumed_behind_its_last_chunk(
    dataset: FileDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "CHUNK", 5)
    monkeypatch.setattr("student.core.disk_entry.SYNCED", 2)
    killed, resumed = source_of(dataset, stop=dataset.records[22].image_id), source_of(dataset)
    with pytest.raises(KeyboardInterrupt):
        pixels(killed, tmp_path)
    (entry,) = (tmp_path / "decoded").iterdir()
    assert not (entry / "index.npz").exists()
    with (entry / "pixels.uint8").open("ab") as file:
        file.write(b"half an image")
    assert pixels(resumed, tmp_path) == pixels(source_of(dataset), tmp_path / "other")
    assert reads(resumed) == len(dataset.records) - 20
    assert sorted(path.name for path in entry.iterdir()) == ["index.npz", "pixels.uint8"]


@pytest.mark.parametrize("damage", ["index", "cut", "longer", "gone"])
def test_a_damaged_entry_is_decoded_again(
    dataset: FileDataset, tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = pixels(source_of(dataset), tmp_path)
    (entry,) = (tmp_path / "decoded").iterdir()
    if damage == "index":
        (entry / "index.npz").write_bytes(b"PK no archive")
    elif damage == "gone":
        (entry / "pixels.uint8").unlink()
    else:
        (entry / "pixels.uint8").write_bytes(whole[:100] if damage == "cut" else whole + b"1")
    again = source_of(dataset)
    assert pixels(again, tmp_path) == whole
    assert reads(again) == len(dataset.records)
    assert "is damaged; the images are decoded again" in capsys.readouterr().err


def test_the_entry_not_used_for_longest_is_deleted(dataset: FileDataset, tmp_path: Path) -> None:
    sizes = (20, 21, 22)
    first, second, third = (source_of(dataset, size=size) for size in sizes)
    entries = [tmp_path / "decoded" / key_of(source) for source in (first, second, third)]
    pixels(first, tmp_path)
    pixels(second, tmp_path)
    os.utime(entries[0] / "index.npz", (1, 1))
    os.utime(entries[1] / "index.npz", (2, 2))
    pixels(first, tmp_path)  # now the second is the oldest
    used = sum(path.stat().st_size for path in (tmp_path / "decoded").rglob("*.*"))
    pixels(third, tmp_path, limit=used + 99_000)
    assert [entry.exists() for entry in entries] == [True, False, True]


def test_an_entry_in_use_is_not_deleted(dataset: FileDataset, tmp_path: Path) -> None:
    with DiskCache(tmp_path, 1e9).open(source_of(dataset), 100_000, progress=False) as (_, path):
        with pytest.raises(StorageUnavailable, match=r"need about .* but .* of its .* are in use \(cache_limit\)"):
            pixels(source_of(dataset, size=20), tmp_path, limit=100_000)
        assert path.exists()


def test_a_full_disk_is_one_line(dataset: FileDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_cache, "free_space", lambda folder: 2 * disk_cache.RESERVE // 2)
    with pytest.raises(StorageUnavailable, match=r"decoded images need about .* free on that disk; .*cache_folder"):
        pixels(source_of(dataset), tmp_path)
    assert not DiskCache(tmp_path, 1e9).can_hold(100_000)


def test_a_disk_that_fills_while_it_is_written_is_one_line(
    dataset: FileDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", full)
    with pytest.raises(StorageUnavailable, match=r"cannot write decoded images to .*No space left.*cache=stream"):
        pixels(source_of(dataset), tmp_path)


def test_a_cache_folder_that_is_a_file_is_one_line(dataset: FileDataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputInvalid, match=r"cache folder .*file cannot be used .*--set cache_folder=FOLDER"):
        pixels(source_of(dataset), tmp_path / "file")


def test_images_that_could_not_be_read_are_tried_again(image_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "images"
    shutil.copytree(image_root, root)
    dataset = image_folder(root, name="colours")
    (root / "train/red/001.png").write_bytes(b"no image")
    missing, data = root / "train/red/002.png", (root / "train/red/002.png").read_bytes()
    missing.unlink()
    missing.mkdir()
    stamp = missing.stat()
    source = source_of(dataset)
    with DiskCache(tmp_path / "cache", 1e9).open(source, 1, progress=False) as (decoded, _):
        assert list(decoded.unreadable) == ["train/red/001.png", "train/red/002.png"]
    again = source_of(dataset)
    with DiskCache(tmp_path / "cache", 1e9).open(again, 1, progress=False) as (decoded, _):
        assert len(decoded.unreadable) == 2
        assert reads(again) == 1  # the folder alone
    missing.rmdir()
    missing.write_bytes(data)
    assert stamp.st_mtime_ns != missing.stat().st_mtime_ns
    with DiskCache(tmp_path / "cache", 1e9).open(source_of(dataset), 1, progress=False) as (decoded, _):
        assert list(decoded.unreadable) == ["train/red/001.png"]


def test_two_that_want_the_same_images_decode_them_once(dataset: FileDataset, tmp_path: Path) -> None:
    source = source_of(dataset)
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(pixels(source, tmp_path))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[1] == found[2]
    assert reads(source) == len(dataset.records)


def test_checked_images_keep_no_pixels(dataset: FileDataset, tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 1e9)
    for reading in (len(dataset.records), 0):
        source = source_of(dataset)
        with cache.open(source, 0, progress=False, keep_pixels=False) as (decoded, path):
            assert (path.stat().st_size, reads(source)) == (0, reading)
            np.testing.assert_array_equal(decoded.shapes[0], [36, 40])


def test_the_folder_is_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ASPECTS_CACHE", str(tmp_path))
    assert default_cache_folder() == tmp_path
    monkeypatch.delenv("ASPECTS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_folder() == tmp_path / "aspects"
