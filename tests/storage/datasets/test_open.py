from __future__ import annotations

import os
from pathlib import Path

import pytest

from storage.datasets import DatasetInvalid, open_dataset
from tests.storage.datasets.test_cub import make_cub
from tests.storage.datasets.tiny_images import draw, write


@pytest.fixture
def images(tmp_path: Path) -> Path:
    draw(tmp_path / "images" / "train" / "daisy" / "1.png")
    return tmp_path / "images"


def test_a_folder(images: Path) -> None:
    dataset = open_dataset(str(images))
    assert (dataset.name, len(dataset.records)) == ("images", 1)
    assert open_dataset(str(images), name="mine").name == "mine"


def test_a_folder_below_home(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(images.parent))
    assert open_dataset("~/images").name == "images"


def test_a_folder_with_a_colon_in_its_name(tmp_path: Path) -> None:
    draw(tmp_path / "set:one" / "train" / "daisy" / "1.png")
    assert len(open_dataset(os.path.join(tmp_path, "set:one"), name="one").records) == 1


def test_cub_is_recognised(tmp_path: Path) -> None:
    make_cub(tmp_path)
    assert open_dataset(str(tmp_path)).records == open_dataset(f"cub:{tmp_path}").records
    assert open_dataset(str(tmp_path)).name == "CUB_200_2011"


def test_a_plain_folder_does_not_need_torchvision_or_datasets(images: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from storage.datasets import open_dataset; open_dataset(sys.argv[1]); "
        "print(sorted({'torch', 'torchvision', 'datasets', 'polars', 'pyarrow'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(images)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("torchvison:DTD", "'torchvison:DTD' is of no known kind 'torchvison:'; expected a folder, torchvision:NAME"),
        ("torchvision:", "names nothing after 'torchvision:'"),
        ("cub:", "names nothing after 'cub:'"),
        ("hf:", "names nothing after 'hf:'"),
        ("no/such/folder", "no folder at no/such/folder"),
    ],
)
def test_invalid_dataset_sources_are_rejected(source: str, reason: str) -> None:
    with pytest.raises(DatasetInvalid, match=reason):
        open_dataset(source)


@pytest.mark.parametrize("name", ["a/b", "a=b", "50%", "..", ".hidden"])
def test_a_name_that_would_bend_the_stores_path(images: Path, name: str) -> None:
    with pytest.raises(DatasetInvalid, match="cannot name a folder"):
        open_dataset(str(images), name=name)


def test_root_is_where_torchvision_looks(tmp_path: Path) -> None:
    with pytest.raises(DatasetInvalid, match=f"no DTD at {tmp_path}/dtd .*--root"):
        open_dataset("torchvision:DTD", root=tmp_path)
    with pytest.raises(DatasetInvalid, match="no DTD at data/dtd"):
        open_dataset("torchvision:DTD")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    write(tmp_path / "list.txt", "a,b")
    with pytest.raises(DatasetInvalid, match="no folder at"):
        open_dataset(str(tmp_path / "list.txt"))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("?colour=red", "has the unknown option 'colour'; known are test"),
        ("?test=0.2", "leaves split 'test' empty; change the share"),
        ("?a", "'a' in .* is no option; write NAME=VALUE"),
        ("?a=1&a=2", "has the option 'a' twice"),
    ],
)
def test_options_of_a_plain_folder(images: Path, options: str, reason: str) -> None:
    with pytest.raises(DatasetInvalid, match=reason):
        open_dataset(f"{images}{options}")


def test_a_folder_with_a_question_mark_in_its_name(tmp_path: Path) -> None:
    draw(tmp_path / "which?a=1" / "train" / "daisy" / "1.png")
    assert len(open_dataset(str(tmp_path / "which?a=1"), name="which").records) == 1
