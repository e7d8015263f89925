"""Lines of label files: which kind they are is never guessed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from storage.datasets.base import DatasetInvalid
from storage.datasets.yolo.labels import LabelReader, keypoint_values
from tests.storage.datasets.tiny_images import write

BOX = "1 0.5 0.5 0.5 0.25"
BOX_CORNERS = (0.25, 0.375, 0.75, 0.625)


def read(path: Path, text: str, keypoints: int = 0) -> list[Any]:
    write(path, text)
    return LabelReader(("cat", "dog"), keypoints).read(path) or []


@pytest.mark.parametrize(
    ("line", "keypoints", "corners"),
    [
        (BOX, 0, BOX_CORNERS),
        (BOX + " 0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8", 8, BOX_CORNERS),  # 4 keypoints: 13 values, as an outline has
        (BOX + " 0.1 0.2 2 0.3 0.4 0", 6, BOX_CORNERS),  # with visibility
        (BOX, 8, BOX_CORNERS),
        ("0 0.25 0.5 0.5 0.25 0.75 1.0", 0, (0.25, 0.25, 0.75, 1.0)),  # an outline
        ("0 0.1 0.1 0.3 0.1 0.3 0.2 0.1 0.2", 0, (0.1, 0.1, 0.3, 0.2)),  # a turned box: four corners
    ],
)
def test_each_kind_of_line(tmp_path: Path, line: str, keypoints: int, corners: tuple[float, ...]) -> None:
    (found,) = read(tmp_path / "1.txt", f"\ufeff{line}\n\n", keypoints)
    assert found.corners == pytest.approx(corners)
    assert not found.beyond


@pytest.mark.parametrize(
    ("line", "keypoints", "wanted"),
    [
        (BOX + " 0.9", 0, "has 6 values: a prediction with its confidence"),
        (BOX + " 0.9 0.9 0.9", 0, "has 8 values, neither a box nor an outline"),
        (BOX + " 0.1 0.2", 8, "has 7 values; with the 'kpt_shape' of the YAML file a line has 13"),
        ("1.5 0.5 0.5 0.5 0.5", 0, "is no box"),
        ("nan 0.5 0.5 0.5 0.5", 0, "is no box"),
        ("inf 0.5 0.5 0.5 0.5", 0, "is no box"),
        ("-1 0.5 0.5 0.5 0.5", 0, "there is no class -1"),
        ("1 nan 0.5 0.5 0.5", 0, "has coordinates that are no numbers"),
        ("1 0.5 0.5 inf 0.5", 0, "has coordinates that are no numbers"),
        ("0 0.1 0.1 0.3 nan 0.3 0.2", 0, "has coordinates that are no numbers"),
        (f"{BOX}\n1 0.1 0.1 0.2 0.2 0.3 0.1", 0, "has outlines, but .*line 1 has boxes"),
        (BOX + f" 0.1 0.2\n{BOX}", 2, "has boxes, but .*line 1 has boxes with keypoints"),
        ("x", 0, "are no numbers"),
    ],
)
def test_invalid_labels_are_rejected(tmp_path: Path, line: str, keypoints: int, wanted: str) -> None:
    with pytest.raises(DatasetInvalid, match=rf"^{re.escape(str(tmp_path))}/1\.txt, line \d.*{wanted}"):
        read(tmp_path / "1.txt", line, keypoints)


def test_files_of_one_dataset_are_of_one_kind(tmp_path: Path) -> None:
    write(tmp_path / "1.txt", BOX)
    write(tmp_path / "2.txt", "1 0.1 0.1 0.2 0.2 0.3 0.1")
    reader = LabelReader(("cat", "dog"), 0)
    reader.read(tmp_path / "1.txt")
    with pytest.raises(DatasetInvalid, match=r"2\.txt, line 1 has outlines, but .*1\.txt, line 1 has boxes"):
        reader.read(tmp_path / "2.txt")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    reader = LabelReader(("cat",), 0)
    assert reader.read(tmp_path / "no.txt") is None
    (tmp_path / "latin.txt").write_bytes(b"\xe9")
    (tmp_path / "folder.txt").mkdir()
    for name in ("latin.txt", "folder.txt"):
        with pytest.raises(DatasetInvalid, match=rf"cannot read YOLO labels: .*{name}"):
            reader.read(tmp_path / name)


@pytest.mark.parametrize("shape", [5, [4], [4, 2, 2], ["4", 2], [0, 2], [True, 2], "4 x 2", {}])
def test_a_shape_of_keypoints_that_makes_no_sense(shape: Any) -> None:
    with pytest.raises(DatasetInvalid, match=r"^a\.yaml: 'kpt_shape' is "):
        keypoint_values({"kpt_shape": shape}, Path("a.yaml"))


def test_a_shape_of_keypoints() -> None:
    assert keypoint_values({"kpt_shape": [17, 3]}, Path("a.yaml")) == 51
    assert keypoint_values({}, Path("a.yaml")) == 0
