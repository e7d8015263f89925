from __future__ import annotations

from pathlib import Path

import pytest

from storage.datasets.base import DatasetInvalid
from storage.datasets.cub import cub_200_2011
from tests.storage.datasets.tiny_images import draw, write

CLASSES = ("001.Black_footed_Albatross", "002.Laysan_Albatross")
FILES = (f"{CLASSES[1]}/b.jpg", f"{CLASSES[0]}/a.jpg", f"{CLASSES[0]}/c.jpg")


def make_cub(root: Path) -> Path:
    for number, file in enumerate(FILES):
        draw(root / "images" / file, shade=number)
    write(root / "images.txt", "".join(f"{number} {file}\n" for number, file in enumerate(FILES, start=1)))
    write(root / "classes.txt", "".join(f"{number} {name}\n" for number, name in enumerate(CLASSES, start=1)))
    write(root / "image_class_labels.txt", "1 2\n2 1\n3 1\n")
    write(root / "train_test_split.txt", "1 1\n2 0\n3 1\n")
    return root


def test_official_split_and_readable_classes(tmp_path: Path) -> None:
    dataset = cub_200_2011(make_cub(tmp_path))
    assert dataset.name == "CUB_200_2011"
    assert dataset.class_names == ("Black footed Albatross", "Laysan Albatross")
    assert [(r.split, r.label, r.label_name, r.image_id) for r in dataset.records] == [
        ("train", 0, "Black footed Albatross", f"images/{FILES[2]}"),
        ("train", 1, "Laysan Albatross", f"images/{FILES[0]}"),
        ("test", 0, "Black footed Albatross", f"images/{FILES[1]}"),
    ]
    assert dataset.read(f"images/{FILES[0]}") == (tmp_path / "images" / FILES[0]).read_bytes()


def test_the_folder_that_the_archive_was_unpacked_in(tmp_path: Path) -> None:
    make_cub(tmp_path / "CUB_200_2011")
    assert cub_200_2011(tmp_path).records == cub_200_2011(tmp_path / "CUB_200_2011").records


def test_a_missing_list(tmp_path: Path) -> None:
    (make_cub(tmp_path) / "classes.txt").unlink()
    with pytest.raises(DatasetInvalid, match=r"classes.txt is missing; unpack CUB_200_2011.tgz"):
        cub_200_2011(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("train_test_split.txt", "1 1\n2 0\n", "train_test_split.txt and images.txt differ about image 3"),
        ("train_test_split.txt", "1 1\n2 0\n3 7\n", "gives image 3 .* no known class or split"),
        ("image_class_labels.txt", "1 2\n2 1\n3 9\n", "gives image 3 .* no known class or split"),
        ("image_class_labels.txt", "1 2\n2 x\n3 1\n", "image_class_labels.txt has 'x' where a number should be"),
        (
            "images.txt",
            "1 ../a.jpg\n2 b.jpg\n3 c.jpg\n",
            "images.txt: image 1 is '../a.jpg', which is not a path below",
        ),
        ("images.txt", "1 a.jpg\n2 a.jpg\n3 c.jpg\n", "images.txt has 'a.jpg' twice, as 1 and 2"),
        ("images.txt", "1 a.jpg\n1 b.jpg\n", "images.txt has the number 1 twice"),
        ("images.txt", f"1 {FILES[0]}\n2 b.jpg\n3 c.jpg\n", r"'.*Black.*' has no images: 2 listed images not in"),
        ("classes.txt", "1 001.A_b\n2 002.A_b\n", "classes.txt has 'A b' twice, as 1 and 2"),
        ("classes.txt", f"{'1' * 5000} a\n", "classes.txt has '1.* where a number should be"),
        ("images.txt", "one a.jpg\n", "images.txt has 'one' where a number should be"),
    ],
)
def test_damaged_lists(tmp_path: Path, file: str, content: str, reason: str) -> None:
    write(make_cub(tmp_path) / file, content)
    with pytest.raises(DatasetInvalid, match=reason):
        cub_200_2011(tmp_path)


def test_images_that_are_missing_are_left_out_and_noted(tmp_path: Path) -> None:
    (make_cub(tmp_path) / "images" / FILES[2]).unlink()
    write(tmp_path / "train_test_split.txt", "1 1\n2 1\n3 0\n")
    with pytest.raises(DatasetInvalid, match=r"split 'test' has no images: 1 listed image not in"):
        cub_200_2011(tmp_path)
    write(tmp_path / "train_test_split.txt", "1 0\n2 1\n3 1\n")
    dataset = cub_200_2011(tmp_path)
    assert [record.split for record in dataset.records] == ["train", "test"]
    assert dataset.notes == (f"1 listed image not in {tmp_path}/images and left out: {FILES[2]}",)


def test_a_list_in_another_encoding_is_named(tmp_path: Path) -> None:
    (make_cub(tmp_path) / "classes.txt").write_bytes("1 Grünfink\n".encode("latin-1"))
    with pytest.raises(DatasetInvalid, match=r"classes\.txt is not UTF-8 text \(line 1\)"):
        cub_200_2011(tmp_path)
