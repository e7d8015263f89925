from __future__ import annotations

import pytest

from storage.matching import NamesAmbiguous, match_images

IDS = ["train/a/1.jpg", "train/b/2.JPG"]


@pytest.mark.parametrize(
    "names",
    [
        IDS,
        ["train/a/1", "train/b/2"],
        ["a/1.jpg", "b/2.JPG"],
        ["a/1", "b/2"],
        ["1.jpg", "2.JPG"],
        ["1", "2"],
        ["1.png", "2.png"],
        ["./train/a/1.jpg", "./train/b/2.JPG"],
        ["C:\\images\\train\\a\\1.jpg", "C:\\images\\train\\b\\2.JPG"],
        ["/data/mine/train/a/1.jpg", "/data/mine/train/b/2.JPG"],
    ],
)
def test_names_with_and_without_folders_and_suffix(names: list[str]) -> None:
    assert match_images([*names, "elsewhere/9.jpg"], IDS) == dict(zip(IDS, names, strict=True))


def test_folders_tell_files_of_one_name_apart() -> None:
    ids = ["train/a/1.jpg", "train/b/1.jpg"]
    assert match_images(["b/1.jpg", "a/1.jpg"], ids) == {ids[0]: "a/1.jpg", ids[1]: "b/1.jpg"}


def test_complete_ids_take_precedence() -> None:
    assert match_images(["train/a/1.jpg", "1.jpg"], ["train/a/1.jpg", "test/a/1.jpg"]) == {
        "train/a/1.jpg": "train/a/1.jpg"
    }


@pytest.mark.parametrize(
    ("names", "ids"),
    [(["1.jpg"], ["a/1.jpg", "b/1.jpg"]), (["x/1.jpg", "y/1.jpg"], ["a/1.jpg"]), (["1"], ["1.jpg", "1.png"])],
)
def test_ambiguous_names_are_rejected(names: list[str], ids: list[str]) -> None:
    with pytest.raises(NamesAmbiguous, match=r"may be .*; name each image by its whole id"):
        match_images(names, ids, "table.csv")


def test_a_similar_name_is_not_taken_where_ids_are_written_whole() -> None:
    names = ["train/a/1.jpg", "train/a/2.jpg"]
    assert match_images(names, ["train/a/1.jpg", "train/b/2.jpg", "train/b/3.jpg"]) == {
        "train/a/1.jpg": "train/a/1.jpg"
    }


def test_no_name_matches() -> None:
    assert match_images(["x"], IDS) == {}
    assert match_images([], IDS) == {}


def test_a_dot_in_a_name_is_no_suffix() -> None:
    assert match_images(["1.5"], ["a/1.5"]) == {"a/1.5": "1.5"}
    assert match_images(["1"], ["a/1.5"]) == {}
