from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from PIL import Image

from storage.datasets.base import DatasetInvalid
from storage.datasets.files import IMAGE_SUFFIXES, Skipped, images_below
from storage.datasets.folder import image_folder
from storage.images.decode import ImageUnreadable
from tests.storage.datasets.tiny_images import draw, write

# What Pillow registers for opening, but runs Ghostscript for or only recognises.
LEFT_OUT = {"EPS", "BUFR", "GRIB", "HDF5", "MPEG", "WMF"}


def images(root: Path, *names: str) -> Path:
    """A dataset of one image in train/daisy, and files of the given names without content."""
    draw(root / "train" / "daisy" / "1.png")
    for name in names:
        write(root / name, "")
    return root


def test_every_suffix_that_pillow_opens_is_an_images() -> None:
    opened = {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    left_out = {suffix for suffix, kind in Image.registered_extensions().items() if kind in LEFT_OUT}
    assert opened - left_out <= IMAGE_SUFFIXES
    assert not left_out & IMAGE_SUFFIXES


@pytest.mark.parametrize("suffix", [".mpo", ".MPO", ".JP2", ".Tga", ".heic", ".psd", ".jpeg"])
def test_a_class_of_uncommon_files_is_there(tmp_path: Path, suffix: str) -> None:
    dataset = image_folder(images(tmp_path, f"train/rose/1{suffix}"))
    assert [record.image_id for record in dataset.records] == ["train/daisy/1.png", f"train/rose/1{suffix}"]
    assert dataset.notes == ()


@pytest.mark.parametrize(
    ("names", "note"),
    [
        (["train/daisy/a.txt", "train/daisy/b/b.TXT", "train/c.xcf"],
         "skipped 3 files without the name of an image: 2 .txt, 1 .xcf"),
        (["train/daisy/README"], "skipped 1 file without the name of an image: 1 without a suffix"),
        (["train/daisy/a.\x1b[31m"], r"skipped 1 file without the name of an image: 1 .\x1b[31m"),
        (["cover.jpg"], "skipped 1 image in no split: cover.jpg"),
        (["annotations/xml/1.xml", "annotations/list.txt"], "skipped 1 folder without images: annotations"),
        (["test/rose/1.jpg"], "split 'test' has no image of 1 class: daisy"),
    ],
)  # fmt: skip
def test_skipped_items_are_noted(tmp_path: Path, names: list[str], note: str) -> None:
    assert note in image_folder(images(tmp_path, *names)).notes


@pytest.mark.parametrize(
    "name", [".DS_Store", "Thumbs.db", "desktop.ini", ".ipynb_checkpoints/1.png", "__MACOSX/._1.png", ".hidden.jpg"]
)
def test_files_of_file_managers_are_ignored_without_a_note(tmp_path: Path, name: str) -> None:
    dataset = image_folder(images(tmp_path, f"train/daisy/{name}", name))
    assert ([record.image_id for record in dataset.records], dataset.notes) == (["train/daisy/1.png"], ())


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["test/rose/1.xcf", "test/daisy/1.jpg"], r"class folder .*/test/rose has no images: .*1 \.xcf; convert"),
        (["test/.keep"], r"split 'test' has no images in .*/test; add some, or remove it"),
        (["Val/rose/.keep"], r"split 'val' has no images in .*/Val; "),
        (["Train/rose/1.jpg"], r"has the split 'train' twice: Train and train; merge them"),
    ],
)
def test_a_class_or_split_that_loses_everything_is_refused(tmp_path: Path, names: list[str], reason: str) -> None:
    with pytest.raises(DatasetInvalid, match=reason):
        image_folder(images(tmp_path, *names))


def test_usual_splits_are_known_in_capitals(tmp_path: Path) -> None:
    for name in ("TEST/daisy/1.png", "Train/daisy/1.png", "Extra/daisy/1.png", "Unlabelled/1.png"):
        draw(tmp_path / name)
    assert [(record.split, record.image_id) for record in image_folder(tmp_path).records] == [
        ("train", "Train/daisy/1.png"),
        ("test", "TEST/daisy/1.png"),
        ("Extra", "Extra/daisy/1.png"),
        ("unlabelled", "Unlabelled/1.png"),
    ]


def test_a_pipe_and_a_socket_are_skipped_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = images(tmp_path) / "train" / "daisy"
    os.mkfifo(folder / "2.jpg")
    monkeypatch.chdir(folder)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("3.jpg")
        dataset = image_folder(tmp_path)
    assert len(dataset.records) == 1
    (note,) = dataset.notes
    assert note == ("skipped 2 pipes, devices or sockets among the files: train/daisy/2.jpg, train/daisy/3.jpg")


def test_a_link_to_a_folder_above_brings_no_other_class_in(tmp_path: Path) -> None:
    draw(tmp_path / "train" / "rose" / "1.png")
    images(tmp_path)
    os.symlink("..", tmp_path / "train" / "daisy" / "up")
    os.symlink("/", tmp_path / "train" / "rose" / "everything")
    os.symlink("itself.png", tmp_path / "train" / "rose" / "itself.png")
    dataset = image_folder(tmp_path)
    assert [record.image_id for record in dataset.records] == [
        "train/daisy/1.png",
        "train/rose/1.png",
        "train/rose/itself.png",
    ]
    assert dataset.notes == ("skipped 2 links back to a folder above: train/daisy/up, train/rose/everything",)


def test_folders_nested_without_end_are_refused(tmp_path: Path) -> None:
    deep = tmp_path.joinpath("train", "daisy", *("a" * 60))
    deep.mkdir(parents=True)
    with pytest.raises(DatasetInvalid, match="nested more than 50 levels deep"):
        images_below("train/daisy", tmp_path, Skipped())


def test_a_long_list_of_kinds_is_cut() -> None:
    skipped = Skipped()
    skipped.suffixes.update({f".{letter}": 1 for letter in "abcdefg"})
    assert skipped.by_suffix() == "1 .a, 1 .b, 1 .c, 1 .d, 1 .e and 2 more"


def test_a_file_replaced_by_a_pipe_does_not_block(tmp_path: Path) -> None:
    dataset = image_folder(images(tmp_path))
    path = tmp_path / "train" / "daisy" / "1.png"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(OSError, match="is a pipe, device or socket, not a file"):
        dataset.read("train/daisy/1.png")


def test_a_file_larger_than_any_image_is_not_read(tmp_path: Path) -> None:
    dataset = image_folder(images(tmp_path))
    with (tmp_path / "train" / "daisy" / "1.png").open("r+b") as file:
        file.truncate(1 << 34)  # takes no space
    with pytest.raises(ImageUnreadable, match="file of 16384 MB, more than 512 MB allowed"):
        dataset.read("train/daisy/1.png")
