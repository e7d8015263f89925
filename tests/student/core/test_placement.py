from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from storage.datasets import FileDataset
from student.classification.config import StudentConfig
from student.classification.images import training_cache
from student.core import placement
from student.core.decoding import ImageSource
from student.core.disk_cache import RESERVE, DiskCache
from student.core.placement import choose_place, estimated_bytes, largest_bytes, worker_count
from student.core.resizing import TrainingShrink
from student.core.setting_errors import ConfigInvalid


@pytest.fixture
def source(dataset: FileDataset) -> ImageSource:
    return ImageSource(dataset=dataset, records=dataset.records, preparation=TrainingShrink(size=37))


def test_sizes_are_estimated_from_some_images(source: ImageSource) -> None:
    pixels = 3 * sum(height * width for height, width in ((36, 40), (37, 41), (37, 41)))  # by their number
    assert largest_bytes(source) == 36 * 3 * 2 * 37 * 37
    assert estimated_bytes(source) == pytest.approx(12 * pixels, rel=0.1)


@pytest.mark.parametrize(
    ("cache", "memory", "disk", "limit", "place", "why"),
    [
        ("auto", 10**9, 0, 1, "memory", "at most 0.3 MB of the 1.0 GB that are free"),
        ("auto", 400_000, 0, 1, "memory", "about 0.2 MB of the 0.4 MB that are free"),
        ("auto", 200_000, 10**9, 10**6, "disk", r"more than half of the free memory \(0.2 MB\); kept in"),
        ("auto", 200_000, 10**9, 10**5, "stream", r"more than .* can hold \(.* limit 0.1 MB\); decoded anew"),
        ("auto", 200_000, 10**5, 10**6, "stream", "decoded anew in every epoch"),
        ("memory", 200_000, 0, 1, "memory", "about 0.2 MB of the 0.2 MB that are free"),
        ("disk", 10**9, 0, 1, "disk", "kept in"),
        ("stream", 10**9, 0, 1, "stream", "decoded anew in every epoch"),
    ],
)
def test_images_are_kept_where_they_fit(
    config: StudentConfig,
    source: ImageSource,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cache: str,
    memory: int,
    disk: int,
    limit: int,
    place: str,
    why: str,
) -> None:
    monkeypatch.setattr(placement, "free_memory", lambda: memory)
    monkeypatch.setattr("student.core.disk_cache.free_space", lambda _: disk + RESERVE)
    found, reason = choose_place(config.replace(cache=cache), source, DiskCache(tmp_path, limit))
    assert found == place
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(reason)


def test_memory_that_is_not_there_is_refused(
    config: StudentConfig, source: ImageSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "free_memory", lambda: 1000)
    with pytest.raises(ConfigInvalid, match=r"36 images need about .* of memory, and .* are free; give --set cache="):
        choose_place(config.replace(cache="memory"), source, DiskCache(tmp_path, 1))


def test_the_choice_is_said_in_one_line(
    config: StudentConfig, dataset: FileDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with training_cache(config, dataset, dataset.records, tmp_path, progress=True):
        pass
    assert "note: cache=memory for 36 images: at most 0.3 MB of the " in capsys.readouterr().err


def test_every_cpu_decodes_for_one_of_the_devices(config: StudentConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "available_cpus", lambda: 8)
    assert [worker_count(config.replace(devices=devices)) for devices in (1, 2, 6)] == [8, 4, 1]
    assert worker_count(config.replace(workers=0)) == 0


def test_where_images_are_kept_is_no_part_of_the_run(config: StudentConfig) -> None:
    assert config.replace(cache="stream", workers=3, cache_limit=1, cache_folder="x").identity() == config.identity()
    assert config.replace(draft=True).identity() != config.identity()
    old = {name: value for name, value in config.to_dict().items() if name not in ("cache", "draft", "workers")}
    assert StudentConfig.from_stored(old) == config
    assert dataclasses.asdict(TrainingShrink(size=1)) == {"size": 1, "draft": False}
