"""Tables beside an image folder, as Hugging Face's imagefolder has them."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from storage.datasets import DatasetInvalid, ImageDataset, open_dataset
from tests.storage.datasets.tiny_images import draw, write

METADATA = "file_name,text,label\n1.png,a cat on a mat,cat\n2.png,a dog,dog\n"


def rows(dataset: ImageDataset) -> list[tuple[str, str, str]]:
    return [(record.image_id, record.split, record.label_name) for record in dataset.records]


def folder_of(root: Path, *names: str) -> Path:
    for shade, name in enumerate(names):
        draw(root / name, shade)
    return root


def test_one_file_in_each_split(tmp_path: Path) -> None:
    folder_of(tmp_path, "train/1.png", "train/2.png", "test/1.png", "test/2.png")
    write(tmp_path / "train" / "metadata.csv", METADATA)
    write(
        tmp_path / "test" / "metadata.jsonl", '{"file_name": "1.png", "label": "dog", "objects": {"bbox": [[1, 2]]}}\n'
    )
    dataset = open_dataset(str(tmp_path))
    assert rows(dataset) == [
        ("train/1.png", "train", "cat"),
        ("train/2.png", "train", "dog"),
        ("test/1.png", "test", "dog"),
    ]
    assert dataset.notes[0].startswith("1 image without a row left out")


@pytest.mark.parametrize("column", ["", ",split"])
def test_one_file_above_the_splits(tmp_path: Path, column: str) -> None:
    folder_of(tmp_path, "train/1.png", "test/2.png")
    text = f"file_name,label{column}\ntrain/1.png,cat{column and ',val'}\ntest/2.png,dog{column and ',train'}\n"
    write(tmp_path / "metadata.csv", text)
    expected = [("train/1.png", "train", "cat"), ("test/2.png", "test", "dog")]
    other = [("test/2.png", "train", "dog"), ("train/1.png", "val", "cat")]
    assert rows(open_dataset(str(tmp_path))) == (other if column else expected)


def test_one_file_beside_the_images(tmp_path: Path) -> None:
    folder_of(tmp_path, "1.png", "2.png")
    pl.DataFrame({"file_name": ["1.png", "2.png"], "label": ["007", "7"]}).write_parquet(tmp_path / "metadata.parquet")
    assert rows(open_dataset(str(tmp_path))) == [("1.png", "train", "007"), ("2.png", "train", "7")]
    assert len(open_dataset(f"{tmp_path}?others=unlabelled").records) == 2


def test_class_folders_stay_the_classes(tmp_path: Path) -> None:
    folder_of(tmp_path, "train/rose/1.png")
    write(tmp_path / "metadata.csv", METADATA)
    assert rows(open_dataset(str(tmp_path))) == [("train/rose/1.png", "train", "rose")]
    write(tmp_path / "train" / "metadata.csv", METADATA)
    assert rows(open_dataset(str(tmp_path))) == [("train/rose/1.png", "train", "rose")]


def test_captions_are_no_classes(tmp_path: Path) -> None:
    folder_of(tmp_path, "1.png", "2.png")
    write(tmp_path / "metadata.csv", METADATA.replace(",label", ",colour"))
    with pytest.raises(DatasetInvalid, match=r"no row of .* has a label; name the column: .*\?label=COLUMN"):
        open_dataset(str(tmp_path))
    assert rows(open_dataset(f"{tmp_path}?label=colour"))[0] == ("1.png", "train", "cat")
