"""A folder of scenes that was killed half-way, or filled before, is filled again; other files are not touched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from storage.datasets import image_folder, open_detection_dataset
from storage.datasets.scenes import classification
from storage.datasets.scenes import detection as detection_scenes
from storage.datasets.scenes.folder import UNFINISHED, holds_rendered_scenes, require_scenes_folder
from storage.errors import InputInvalid

Write = Callable[[Path, int], None]


def write_classes(folder: Path, count: int) -> None:
    classification.write_scenes(folder, train_per_class=count, test_per_class=1, seed=1)


def write_boxes(folder: Path, count: int) -> None:
    detection_scenes.write_detection_scenes(folder, train=4 * count, test=1, seed=1)


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def killed_after(module: object, images: int, write: Write, folder: Path) -> None:
    """`write` stops as a killed process would: without any clearing up."""
    render = module.render  # type: ignore[attr-defined]
    left = iter(range(images))

    def drawn(*arguments: object) -> object:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return render(*arguments)

    with mock.patch.object(module, "render", drawn), pytest.raises(KeyboardInterrupt):
        write(folder, 2)


@pytest.mark.parametrize(("module", "write"), [(classification, write_classes), (detection_scenes, write_boxes)])
def test_a_killed_command_can_be_started_again(tmp_path: Path, module: object, write: Write) -> None:
    killed_after(module, 3, write, tmp_path / "killed")
    assert not holds_rendered_scenes(tmp_path / "killed")
    require_scenes_folder(tmp_path / "killed")
    write(tmp_path / "killed", 1)
    write(tmp_path / "whole", 1)
    assert files(tmp_path / "killed") == files(tmp_path / "whole")
    assert UNFINISHED not in files(tmp_path / "whole")


def test_fewer_scenes_leave_no_old_ones(tmp_path: Path) -> None:
    write_classes(tmp_path / "a", 2)
    write_classes(tmp_path / "a", 1)
    assert len(image_folder(tmp_path / "a").records) == 24
    write_boxes(tmp_path / "a", 1)
    assert len(open_detection_dataset(str(tmp_path / "a")).records) == 5
    write_classes(tmp_path / "b", 1)
    write_boxes(tmp_path / "a", 1)
    write_classes(tmp_path / "a", 1)
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_a_kill_while_filling_again_is_seen(tmp_path: Path) -> None:
    write_boxes(tmp_path, 1)
    killed_after(detection_scenes, 1, write_boxes, tmp_path)
    assert not holds_rendered_scenes(tmp_path)
    require_scenes_folder(tmp_path)


def test_files_of_others_stay(tmp_path: Path) -> None:
    write_boxes(tmp_path, 1)
    for name in ("train/mine.png", "train/my folder/0001.png", "notes.txt", "annotations/mine.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    write_boxes(tmp_path, 1)
    assert sum(content == b"mine" for content in files(tmp_path).values()) == 4


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    require_scenes_folder(tmp_path / "new")
    require_scenes_folder(tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(InputInvalid, match="holds something else; choose one that is new or empty"):
        require_scenes_folder(tmp_path)
    (tmp_path / "ground_truth.parquet").write_text("not of scenes")
    with pytest.raises(InputInvalid, match="holds something else"):
        require_scenes_folder(tmp_path)
    with pytest.raises(InputInvalid, match="is a file; choose a folder"):
        require_scenes_folder(tmp_path / "ground_truth.parquet")
