from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.datasets import DatasetInvalid, ImageDataset, open_dataset
from storage.datasets.base import StampedDataset
from tests.storage.datasets.tiny_images import draw

FEATURES = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}


def table(folder: Path, labels: list[Any], *, features: Any = FEATURES, paths: bool = True) -> pa.Table:
    cells = [
        {"bytes": draw(folder / f"{row}.png", 9 * row), "path": f"{row}.png" if paths else None}
        for row in range(len(labels))
    ]
    metadata = {"huggingface": json.dumps({"info": {"features": features}})} if features else None
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    found = pa.table({"image": pa.array(cells, kind), "label": pa.array(labels)})
    return found.replace_schema_metadata(metadata)


def write(found: pa.Table, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(found, path, row_group_size=2)
    else:
        kind = pa.ipc.new_stream if path.suffix == ".arrow" else pa.ipc.new_file
        with kind(path, found.schema) as file:
            file.write_table(found)
    return path


def rows(dataset: ImageDataset) -> list[tuple[str, str, str]]:
    return [(record.image_id, record.split, record.label_name) for record in dataset.records]


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".feather"])
def test_a_file_of_any_kind(tmp_path: Path, suffix: str) -> None:
    dataset = open_dataset(str(write(table(tmp_path, [1, 0, -1, 0, 1]), tmp_path / f"train{suffix}")))
    expected = ["dog", "cat", "", "cat", "dog"]
    assert sorted(rows(dataset)) == [
        (f"train/{row}.png", "train" if label else "unlabelled", label) for row, label in enumerate(expected)
    ]
    assert dataset.class_names == ("cat", "dog")
    part = pickle.loads(pickle.dumps(dataset.subset(dataset.records[1:])))
    for row in (4, 1, 3):
        assert part.read(f"train/{row}.png") == (tmp_path / f"{row}.png").read_bytes()
    assert isinstance(dataset, StampedDataset)
    assert dataset.stamp("train/1.png") != dataset.stamp("train/3.png")


def test_a_folder_as_on_the_hub(tmp_path: Path) -> None:
    for part in range(2):
        write(
            table(tmp_path / "x", [1, 0], paths=False),
            tmp_path / "pets" / "data" / f"train-0000{part}-of-00002.parquet",
        )
    write(table(tmp_path / "x", [1], paths=False), tmp_path / "pets" / "data" / "test-00000-of-00001.parquet")
    dataset = open_dataset(str(tmp_path / "pets"))
    assert [image_id for image_id, _, _ in rows(dataset)] == [*(f"train/{row:07d}" for row in range(4)), "test/0000000"]
    assert dataset.read("train/0000003") == (tmp_path / "x" / "1.png").read_bytes()


def test_ids_and_labels_are_those_of_the_library(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    write(table(tmp_path / "x", [1, 0, 1]), tmp_path / "pets" / "train.parquet")
    other = open_dataset(f"hf:{tmp_path / 'pets'}", root=tmp_path / "cache")
    assert rows(open_dataset(str(tmp_path / "pets"))) == rows(other)


@pytest.mark.parametrize(
    ("labels", "names"), [(["b", "a"], ("a", "b")), ([10, 9], ("9", "10")), (["007", "7"], ("007", "7"))]
)
def test_labels_without_a_list_of_classes(tmp_path: Path, labels: list[Any], names: tuple[str, ...]) -> None:
    assert open_dataset(str(write(table(tmp_path, labels, features=None), tmp_path / "a.parquet"))).class_names == names


def test_an_empty_cell_is_one_unreadable_image(tmp_path: Path) -> None:
    found = table(tmp_path, [0, 1])
    cells = pa.array(
        [{"bytes": None, "path": "0.png"}, {"bytes": b"x", "path": "1.png"}], found.schema.field("image").type
    )
    dataset = open_dataset(str(write(found.set_column(0, "image", cells), tmp_path / "train.parquet")))
    with pytest.raises(FileNotFoundError, match=r"row 0 of .*train.parquet holds no image"):
        dataset.read("train/0.png")
    assert dataset.read("train/1.png") == b"x"


@pytest.mark.parametrize(
    ("labels", "options", "reason"),
    [
        ([0, 2], "", "row 1: label 2 is none of the 2 classes"),
        ([0, 1], "?label=kind", "has no column 'kind'; it has image, label"),
        ([0, 1], "?image=label", "column 'label' of .* holds int64, not images"),
        ([0.5, 1], "", "column 'label' of .* holds double, not classes"),
        ([-1, -1], "", "no image of .* has a label"),
    ],
)
def test_bad_columns_are_one_line(tmp_path: Path, labels: list[Any], options: str, reason: str) -> None:
    write(table(tmp_path, labels), tmp_path / "train.parquet")
    with pytest.raises(DatasetInvalid, match=reason) as caught:
        open_dataset(f"{tmp_path / 'train.parquet'}{options}")
    assert "\n" not in str(caught.value)


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    file = write(table(tmp_path, [0, 1]), tmp_path / "data" / "train-0.parquet")
    write(table(tmp_path, [0, 1]), tmp_path / "data" / "a.parquet")
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DatasetInvalid, match=r"cannot read .*train-0.parquet as a table of images"):
        open_dataset(str(tmp_path / "data"))
