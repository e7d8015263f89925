"""Datasets of tables: what is written in common ways is read, and everything else is one line."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from storage.datasets import DatasetInvalid, ImageDataset, open_dataset
from tests.storage.datasets.tiny_images import draw

PLAIN = "image,label,split\nimages/a.png,cat,train\nimages/b.png,dog,train\nimages/c.png,cat,test\n"
EXPECTED = [("images/a.png", "train", "cat"), ("images/b.png", "train", "dog"), ("images/c.png", "test", "cat")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for shade, name in enumerate("abc"):
        draw(tmp_path / "pets" / "images" / f"{name}.png", shade)
    return tmp_path / "pets"


def opened(folder: Path, content: str | bytes, options: str = "", file: str = "list.csv") -> ImageDataset:
    (folder / file).write_bytes(content.encode() if isinstance(content, str) else content)
    return open_dataset(f"{folder / file}{options}")


def rows(dataset: ImageDataset) -> list[tuple[str, str, str]]:
    return [(record.image_id, record.split, record.label_name) for record in dataset.records]


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (PLAIN, ""),
        ("\ufeff" + PLAIN.replace("\n", "\r\n"), ""),
        (PLAIN.replace(",", ";"), ""),
        (PLAIN.replace("images/", '"images/').replace(".png", '.png"'), ""),
        (PLAIN.replace("image,label,split", "File Name,Class,SET"), ""),
        (PLAIN.replace("image,label,split", "x,y,z"), "?image=x&label=y&split=z"),
        (PLAIN.replace("train", "Train").replace("test", "TEST"), ""),
        (PLAIN.replace("images/", ""), ""),
        (PLAIN.replace("images/", "").replace(".png", ""), ""),
        (PLAIN.replace("images/", "images\\"), ""),
        (PLAIN.replace("images/", "./images/"), ""),
    ],
)
def test_common_ways_to_write_one_table(folder: Path, content: str, options: str) -> None:
    dataset = opened(folder, content, options)
    assert (dataset.name, rows(dataset), dataset.class_names) == ("pets", EXPECTED, ("cat", "dog"))
    assert [record.label for record in dataset.records] == [0, 1, 0]
    assert dataset.read("images/b.png") == (folder / "images" / "b.png").read_bytes()
    assert pickle.loads(pickle.dumps(dataset.subset(dataset.records[:1]))).read("images/a.png")


def test_parquet_and_json_lines_are_the_same_dataset(folder: Path) -> None:
    (folder / "list.csv").write_text(PLAIN)
    frame = pl.read_csv(folder / "list.csv")
    frame.with_columns(pl.col("label").cast(pl.Categorical)).write_parquet(folder / "list.parquet")
    frame.with_columns(boxes=pl.lit([1, 2])).write_ndjson(folder / "list.jsonl")
    for file in ("list.parquet", "list.jsonl"):
        assert rows(open_dataset(str(folder / file))) == EXPECTED


def test_absolute_paths_and_a_folder_of_images(folder: Path) -> None:
    assert rows(opened(folder, PLAIN.replace("images/", f"{folder}/images/"))) == EXPECTED
    dataset = opened(folder, PLAIN.replace("images/", ""), "?images=images")
    assert [record.image_id for record in dataset.records] == ["a.png", "b.png", "c.png"]


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["007", "07", "007"], ("007", "07")),
        ([10, 9, 9], ("9", "10")),
        ([1.0, 0.0, None], ("0", "1")),
        ([True, False, None], ("false", "true")),
        (["NA", "none", "1e3"], ("1e3", "NA", "none")),
    ],
)
def test_class_names_of_a_parquet_table(folder: Path, values: list[Any], names: tuple[str, ...]) -> None:
    pl.DataFrame({"image": ["a", "b", "c"], "label": values}).write_parquet(folder / "list.parquet")
    assert open_dataset(str(folder / "list.parquet")).class_names == names


def test_class_names_of_a_csv_stay_text(folder: Path) -> None:
    assert opened(folder, "image,label\na,007\nb,10\nc,9\n").class_names == ("007", "10", "9")


def test_images_of_unknown_class(folder: Path) -> None:
    content = "image,label\na,cat\nb,\nc,Not sure\n"
    dataset = opened(folder, content, "?unlabelled=Not sure")
    assert rows(dataset) == [("images/a.png", "train", "cat"), *((f"images/{x}.png", "unlabelled", "") for x in "bc")]
    assert [record.label for record in dataset.records] == [0, -1, -1]
    assert "2 images without a label, in split 'unlabelled'" in dataset.notes
    dropped = opened(folder, content, "?drop=Not%20sure")
    assert len(dropped.records) == 2
    assert "1 row left out by their label (drop=)" in dropped.notes


def test_images_without_a_row(folder: Path) -> None:
    content = "image,label\na,cat\n"
    dataset = opened(folder, content)
    assert "2 images without a row left out (others=unlabelled takes them): images/b.png, images/c.png" in dataset.notes
    assert [split for _, split, _ in rows(opened(folder, content, "?others=unlabelled"))] == [
        "train",
        *["unlabelled"] * 2,
    ]


def test_rows_without_an_image_are_counted(folder: Path) -> None:
    dataset = opened(folder, PLAIN + "images/d.png,cat,train\n")
    assert rows(dataset) == EXPECTED
    assert dataset.notes == ("1 row without an image left out: row 5", "split 'test' has no image of 1 class: dog")


def test_a_held_out_share_is_the_same_after_more_rows(tmp_path: Path) -> None:
    lines = [f"{number}.png,{number % 2},{number // 10}\n" for number in range(200)]
    for number in range(200):
        (tmp_path / f"{number}.png").touch()
    few = opened(tmp_path, "image,label,who\n" + "".join(lines[:100]), "?test=0.3")
    many = opened(tmp_path, "image,label,who\n" + "".join(lines), "?test=0.3")
    assert set(rows(few)) < set(rows(many))
    assert 0.2 < Counter(split for _, split, _ in rows(many))["test"] / 200 < 0.4
    grouped = opened(tmp_path, "image,label,who\n" + "".join(lines), "?test=0.3&group=who")
    assert len({(int(image_id[:-4]) // 10, split) for image_id, split, _ in rows(grouped)}) == 20


def test_a_table_for_each_split(folder: Path) -> None:
    (folder / "train.csv").write_text("image,label\na,cat\nb,dog\n")
    (folder / "test.jsonl").write_text('{"image": "c", "label": "cat"}\n')
    assert rows(open_dataset(f"table:{folder}")) == EXPECTED
    (folder / "test.jsonl").write_text('{"image": "b", "label": "cat"}\n')
    with pytest.raises(DatasetInvalid, match=r"image images/b.png is in .*train.csv, row 3 and in .*test.jsonl, row 1"):
        open_dataset(f"table:{folder}")


@pytest.mark.parametrize(
    ("content", "options", "reason"),
    [
        ("", "", "begins with an empty line"),
        ("image,label\n", "", "has no rows"),
        ("x,label\na,cat\n", "", r"no column of images .* it has x, label; name it: .*list.csv\?image=COLUMN"),
        (PLAIN, "?label=kind", r"has no column 'kind' \(label=\); it has image, label, split"),
        (PLAIN, "?colour=red", "unknown option 'colour'; known are image, label, "),
        ("image,x\na,cat\n", "", r"no row of .* has a label; name the column: .*\?label=COLUMN"),
        ("image,label,class\na,cat,1\n", "", r"several columns that may hold the label: label, class; name one"),
        ("image,label\na,cat\nb,dog\na,cat\n", "", r"several rows for image 'a' \(2 and 4\); keep one"),
        ("image,label\nx/../../a.png,cat\n", "", r"row 2: x/../../a.png is not below .*pets"),
        ("image,label\n/etc/a.png,cat\n", "", r"row 2: /etc/a.png is not below .*pets"),
        ("image,label\nC:\\a.png,cat\n", "", r"row 2: C:\\a.png is not below .*pets"),
        ("image,label\nhttps://x/a.png,cat\n", "", r"row 2: https://x/a.png is an address"),
        ("image,label\nx.png,cat\n", "", r"1 row of .* name an image that is not in .*, e.g. row 2; name the folder"),
        (PLAIN + "d.png,bird,train\n", "", r"class 'bird' \(.*list.csv, row 5\) has lost all of its images"),
        ("image,label\n,cat\n", "", "row 2: column 'image' is empty"),
        ("image,label\na,cat,1\n", "", "row 2 has 3 cells, but there are 2 columns"),
        ('image,label\n"a,cat\n', "", "as a table|has 1 cell"),
        ("image,label\na,caf\xe9\n".encode("latin-1"), "", r"is not UTF-8 text \(line 2\); save it as UTF-8"),
        ("image,label\na,cat\n".encode("utf-16"), "", "is not UTF-8 text"),
        ("image,label\na,T-shirt\nb,t_shirt\n", "", r"'T-shirt' \(.*row 2\) and 't_shirt' \(.*row 3\) are one class"),
        ("image,label,split\na,cat,\n", "", r"row 2: '' names no split"),
        ("image,label,split\na,cat,a/b\n", "", r"row 2: 'a/b' names no split"),
        (PLAIN, "?test=0.2", "has the column 'split', so test= holds nothing out"),
        (PLAIN, "?split=&test=2", "test='2' of .* is no share"),
        (PLAIN, "?drop=brid", "no row of .* has the label 'brid' in column 'label'; correct unlabelled= or drop="),
        (PLAIN, "?others=test", "others=test of .* must be unlabelled"),
        (PLAIN, "?images=nowhere", "no folder at .*nowhere"),
        ("image,label\n" + "".join(f"{x}.png,{x}\n" for x in range(30)), "", "another value in every row"),
    ],
)  # fmt: skip
def test_a_bad_table_is_one_line(folder: Path, content: str | bytes, options: str, reason: str) -> None:
    with pytest.raises(DatasetInvalid, match=reason) as caught:
        opened(folder, content, options)
    assert "\n" not in str(caught.value)


def test_a_folder_with_a_table_says_so(folder: Path) -> None:
    (folder / "list.csv").write_text(PLAIN)
    with pytest.raises(DatasetInvalid, match=r"classes without a split .*, or name the table of labels: .*/list\.csv"):
        open_dataset(str(folder))


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ('{"image": "a", "label": "cat"}\n{"image": "b", "label": 3}', "holds text in row 1 and a number in row 2"),
        ('{"image": "a", "label": ["cat"]}', "row 1: column 'label' holds a list, not one value"),
        ('{"image": {"path": "a"}, "label": "cat"}', "row 1: column 'image' holds an object"),
        ('\n{"image": "a"', r"row 2 is no valid JSON"),
        ('["a", "cat"]', "row 1 is no object"),
        ('{"image": "a", "label": 0.5}', "row 1, column 'label': 0.5 is not a whole number"),
        ('{"image": "a", "label": 1e400}', "row 1, column 'label': inf is not a whole number"),
        (f'{{"image": "a", "label": {10**60}}}', "too large"),
    ],
)  # fmt: skip
def test_bad_json_lines_are_one_line(folder: Path, lines: str, reason: str) -> None:
    with pytest.raises(DatasetInvalid, match=reason) as caught:
        opened(folder, lines, file="list.jsonl")
    assert "\n" not in str(caught.value)


def test_the_real_clothing(shared_data: Path) -> None:
    source = f"{shared_data / 'clothing' / 'images.csv'}?unlabelled=Not sure&drop=Skip,Other&test=0.2&group=sender_id"
    dataset = open_dataset(source)
    assert Counter(split for _, split, _ in rows(dataset)) == {"train": 4123, "test": 973, "unlabelled": 228}
    assert len(dataset.class_names) == 17
