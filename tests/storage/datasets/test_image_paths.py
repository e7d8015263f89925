from __future__ import annotations

from pathlib import Path

import pytest

from storage.datasets.base import DatasetInvalid
from storage.datasets.image_paths import image_paths
from tests.storage.datasets.tiny_images import draw, write


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("new/b.png", "new/deep/er/a.jpg", "new/.hidden.png", "other/c.png"):
        draw(tmp_path / name)
    write(tmp_path / "new" / "notes.txt", "text")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("places", "found"),
    [
        (["new"], ["new/b.png", "new/deep/er/a.jpg"]),
        (["new/"], ["new/b.png", "new/deep/er/a.jpg"]),
        (["."], ["new/b.png", "new/deep/er/a.jpg", "other/c.png"]),
        (["other/c.png", "new", "other"], ["other/c.png", "new/b.png", "new/deep/er/a.jpg"]),
        (["new/*"], ["new/b.png"]),
        (["**/*.png"], ["new/b.png", "other/c.png"]),
        (["new/notes.txt"], ["new/notes.txt"]),
    ],
)
def test_files_folders_and_patterns(folder: Path, places: list[str], found: list[str]) -> None:
    assert [str(path) for path in image_paths(places)[0]] == found


def test_skipped_files_are_counted(folder: Path) -> None:
    assert image_paths(["new"])[1] == ("skipped 1 file without the name of an image: 1 .txt",)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nothing", "no file or folder at nothing; check the path"),
        ("empty", "no images in empty; check the path"),
        ("texts", "no images in texts; skipped 1 file without the name of an image: 1 .txt"),
        ("new/*.webp", r"no images match new/\*\.webp; check the path"),
    ],
)
def test_places_without_images_are_refused(folder: Path, place: str, message: str) -> None:
    (folder / "empty").mkdir()
    write(folder / "texts" / "a.txt", "text")
    with pytest.raises(DatasetInvalid, match=message):
        image_paths([place])
