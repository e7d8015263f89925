from __future__ import annotations

import os
from pathlib import Path

import pytest

from storage.datasets.base import DatasetInvalid
from storage.datasets.folder import image_folder
from tests.storage.datasets.tiny_images import draw, write


def ids(root: Path) -> list[str]:
    return [record.image_id for record in image_folder(root).records]


def test_order_is_split_class_file(tmp_path: Path) -> None:
    for file in ("test/rose/1.png", "train/rose/2.png", "train/rose/1.jpg", "train/daisy/9.png", "extra/daisy/1.png"):
        draw(tmp_path / file)
    draw(tmp_path / "val" / "daisy" / "1.png")
    dataset = image_folder(tmp_path)
    assert [record.image_id for record in dataset.records] == [
        "train/daisy/9.png",
        "train/rose/1.jpg",
        "train/rose/2.png",
        "val/daisy/1.png",
        "test/rose/1.png",
        "extra/daisy/1.png",
    ]
    assert dataset.class_names == ("daisy", "rose")
    assert dataset.name == tmp_path.name
    assert [record.label for record in dataset.records] == [0, 1, 1, 0, 1, 0]


def test_reads_the_files_own_bytes(tmp_path: Path) -> None:
    written = draw(tmp_path / "train" / "daisy" / "1.png", shade=7)
    dataset = image_folder(tmp_path, name="mine")
    assert dataset.name == "mine"
    assert dataset.read("train/daisy/1.png") == written
    with pytest.raises(KeyError):
        dataset.read("train/daisy/2.png")


def test_a_damaged_image_and_one_in_a_phones_format_are_listed(tmp_path: Path) -> None:
    write(tmp_path / "train" / "daisy" / "empty.jpg", "")
    write(tmp_path / "train" / "daisy" / "phone.HEIC", "no format that Pillow reads")
    assert ids(tmp_path) == ["train/daisy/empty.jpg", "train/daisy/phone.HEIC"]


def test_hidden_names_and_other_files_are_left_out(tmp_path: Path) -> None:
    draw(tmp_path / "train" / "daisy" / "1.png")
    draw(tmp_path / "__MACOSX" / "train" / "daisy" / "1.png")
    draw(tmp_path / "train" / ".thumbnails" / "1.png")
    draw(tmp_path / "train" / "daisy" / "._1.png")
    write(tmp_path / "train" / "daisy" / "licence.txt", "free")
    assert ids(tmp_path) == ["train/daisy/1.png"]


def test_folders_below_a_class_belong_to_it(tmp_path: Path) -> None:
    draw(tmp_path / "train" / "daisy" / "garden" / "1.png")
    (record,) = image_folder(tmp_path).records
    assert (record.image_id, record.label_name) == ("train/daisy/garden/1.png", "daisy")


def test_links_are_followed_and_a_circle_of_them_ends(tmp_path: Path) -> None:
    draw(tmp_path / "elsewhere" / "1.png")
    root = tmp_path / "images"
    (root / "train").mkdir(parents=True)
    os.symlink(tmp_path / "elsewhere", root / "train" / "daisy")
    os.symlink(tmp_path / "elsewhere", tmp_path / "elsewhere" / "again")
    assert ids(root) == ["train/daisy/1.png"]


def test_a_class_only_in_test_keeps_labels_the_same_in_both_splits(tmp_path: Path) -> None:
    for file in ("train/rose/1.png", "test/aster/1.png", "test/rose/1.png"):
        draw(tmp_path / file)
    assert [(r.split, r.label, r.label_name) for r in image_folder(tmp_path).records] == [
        ("train", 1, "rose"),
        ("test", 0, "aster"),
        ("test", 1, "rose"),
    ]


def test_images_without_a_label_lie_anywhere_in_their_split(tmp_path: Path) -> None:
    for name in ("train/b/1.png", "train/a/1.png", "unlabelled/1.png", "unlabelled/deep/er/2.png"):
        draw(tmp_path / name)
    dataset = image_folder(tmp_path)
    assert dataset.class_names == ("a", "b")
    found = [(record.image_id, record.split, record.label, record.label_name) for record in dataset.records]
    assert found[2:] == [
        ("unlabelled/1.png", "unlabelled", -1, ""),
        ("unlabelled/deep/er/2.png", "unlabelled", -1, ""),
    ]


@pytest.mark.parametrize("other", ["Sweet pea", "sweet-pea", "SWEET_PEA"])
def test_one_class_in_two_spellings_is_refused(tmp_path: Path, other: str) -> None:
    draw(tmp_path / "train" / "sweet_pea" / "1.png")
    draw(tmp_path / "test" / other / "1.png")
    with pytest.raises(DatasetInvalid, match=rf"train/sweet_pea and test/{other} are one class in two spellings"):
        image_folder(tmp_path)


def test_class_folders_without_a_split(tmp_path: Path) -> None:
    draw(tmp_path / "daisy" / "1.png")
    draw(tmp_path / "rose" / "1.png")
    with pytest.raises(
        DatasetInvalid, match=r"classes without a split \(daisy/1.png\); move the class folders to .*/train"
    ):
        image_folder(tmp_path)


def test_a_split_instead_of_the_dataset(tmp_path: Path) -> None:
    draw(tmp_path / "train" / "daisy" / "1.png")
    with pytest.raises(DatasetInvalid, match=f"is a split, not a dataset; name the folder above it: {tmp_path}"):
        image_folder(tmp_path / "train")


def test_images_without_a_class(tmp_path: Path) -> None:
    draw(tmp_path / "train" / "daisy" / "1.png")
    draw(tmp_path / "train" / "loose.png")
    with pytest.raises(DatasetInvalid, match=r"train holds images without a class \(loose.png\)"):
        image_folder(tmp_path)


@pytest.mark.parametrize(
    ("made", "reason"), [("", "no folder"), ("train", "no class folders"), ("train/a", "no images")]
)
def test_an_empty_folder(tmp_path: Path, made: str, reason: str) -> None:
    root = tmp_path / "images"
    if made:
        (root / made).mkdir(parents=True)
    with pytest.raises(DatasetInvalid, match=f"{reason} .*expected SPLIT/CLASS/FILE") as caught:
        image_folder(root)
    assert "\n" not in str(caught.value)


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    folder = tmp_path / "train" / "daisy"
    folder.mkdir(parents=True)
    try:
        (Path(os.fsdecode(os.fsencode(folder) + b"/\xff.png"))).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(DatasetInvalid, match="is not UTF-8; rename"):
        image_folder(tmp_path)


def test_the_real_flowers(shared_data: Path) -> None:
    root = shared_data / "flowers102_64"
    if not root.is_dir():
        pytest.skip(f"no images at {root}")
    dataset = image_folder(root)
    splits = [record.split for record in dataset.records]
    assert (splits.count("train"), splits.count("test"), len(dataset.class_names)) == (2091, 6098, 102)
