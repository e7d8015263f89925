"""Splits that write their labels in different ways: joined by name, or refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from storage.datasets.base import DatasetInvalid
from storage.datasets.hugging_face.dataset import hugging_face_dataset
from storage.datasets.hugging_face.labels import read_labels

datasets = pytest.importorskip("datasets", reason="Hugging Face's datasets is an optional extra")

Split = tuple[Any, list[Any]]  # its feature, its labels


def named(*names: str) -> Any:
    return datasets.ClassLabel(names=list(names))


TEXT, NUMBER, BOOLEAN = datasets.Value("string"), datasets.Value("int64"), datasets.Value("bool")


def labels_of(train: Split, test: Split) -> tuple[tuple[str, ...], list[str], list[str]]:
    tables = {}
    for split, (feature, values) in (("train", train), ("test", test)):
        tables[split] = datasets.Dataset.from_dict({"label": values}, features=datasets.Features({"label": feature}))
    names, labels = read_labels(tables, "label", "x")
    return names, [names[label] for label in labels["train"]], [names[label] for label in labels["test"]]


@pytest.mark.parametrize(
    ("train", "test", "expected"),
    [
        ((named("a", "b"), [0, 1]), (named("a", "b"), [1]), (("a", "b"), ["a", "b"], ["b"])),
        ((named("b", "a"), [0, 1]), (named("a", "b"), [0, 1]), (("b", "a"), ["b", "a"], ["a", "b"])),
        ((named("a", "b"), [1]), (named("b"), [0]), (("a", "b"), ["b"], ["b"])),
        ((named("a"), [0]), (named("b", "a"), [0, 1]), (("a", "b"), ["a"], ["b", "a"])),
        ((named("a", "b"), [1]), (TEXT, ["b", "a"]), (("a", "b"), ["b"], ["b", "a"])),
        ((TEXT, ["b", "a"]), (named("a", "b"), [0, 1]), (("a", "b"), ["b", "a"], ["a", "b"])),
        ((TEXT, ["b", "no"]), (TEXT, ["00"]), (("00", "b", "no"), ["b", "no"], ["00"])),
        ((NUMBER, [10, 9]), (datasets.Value("int8"), [9]), (("9", "10"), ["10", "9"], ["9"])),
        ((BOOLEAN, [True]), (BOOLEAN, [False]), (("False", "True"), ["True"], ["False"])),
    ],
)
def test_splits_are_joined_by_class_names(train: Split, test: Split, expected: Any) -> None:
    assert labels_of(train, test) == expected


@pytest.mark.parametrize(
    ("train", "test", "reason"),
    [
        (
            (named("a"), [0]),
            (NUMBER, [0]),
            r"are class names in split 'train' and int in split 'test'; write them alike",
        ),
        ((NUMBER, [0]), (TEXT, ["0"]), r"are int in split 'train' and text in split 'test'"),
        ((NUMBER, [0]), (BOOLEAN, [True]), r"are int in split 'train' and bool in split 'test'"),
        ((named("a"), [0]), (named("b"), [0]), r"'train' \(a\) and 'test' \(b\) of hf:x have no class in common"),
        (
            (named("a"), [0]),
            (TEXT, ["b"]),
            r"split 'test' of hf:x has the class 'b', which the other splits do not list",
        ),
        ((named("a"), [0]), (named("a"), [-1]), r"row 0 of split 'test' of hf:x has no label; .*\?split=train"),
        ((named("a"), [None]), (named("a"), [0]), r"row 0 of split 'train' of hf:x has no label; .*\?split=test"),
        ((TEXT, ["a"]), (TEXT, ["a", ""]), r"row 1 of split 'test' of hf:x has no label"),
        ((datasets.Value("float32"), [1.0]), (datasets.Value("float32"), [float("nan")]), "has no label"),
        ((datasets.Sequence(NUMBER), [[1]]), (NUMBER, [1]), r"column 'label' of hf:x holds .*, not one label"),
    ],
)
def test_splits_that_do_not_fit_are_refused(train: Split, test: Split, reason: str) -> None:
    with pytest.raises(DatasetInvalid, match=reason) as caught:
        labels_of(train, test)
    assert "\n" not in str(caught.value)


def saved(folder: Path, **splits: dict[str, tuple[Any, list[Any]]]) -> str:
    tables = {
        split: datasets.Dataset.from_dict(
            {name: values for name, (_, values) in columns.items()},
            features=datasets.Features({name: feature for name, (feature, _) in columns.items()}),
        )
        for split, columns in splits.items()
    }
    datasets.DatasetDict(tables).save_to_disk(folder)
    return str(folder)


def test_a_split_without_the_label_column(tmp_path: Path) -> None:
    images = (datasets.Image(), [None])
    where = saved(tmp_path / "x", train={"image": images, "label": (named("a"), [0])}, test={"image": images})
    with pytest.raises(DatasetInvalid, match=r"no column 'label' in split 'test'; it has image; .*\?split=train"):
        hugging_face_dataset(where)
    assert len(hugging_face_dataset(f"{where}?split=train").records) == 1


@pytest.mark.parametrize("names", [("b", "a"), ("b",), ("a", "b", "c")])
def test_parquet_files_that_list_their_classes_otherwise(tmp_path: Path, names: tuple[str, ...]) -> None:
    (tmp_path / "x").mkdir()
    for split, kind in (("train", named("a", "b")), ("test", named(*names))):
        features = datasets.Features({"image": datasets.Image(), "label": kind})
        table = datasets.Dataset.from_dict({"image": [None], "label": [0]}, features=features)
        table.to_parquet(tmp_path / "x" / f"{split}-0.parquet")
    with pytest.raises(
        DatasetInvalid, match=r"lists its classes as .*, other files of hf:.* as .*; write them with one"
    ):
        hugging_face_dataset(str(tmp_path / "x"), cache=tmp_path / "cache")


def test_a_class_without_images_is_said(tmp_path: Path) -> None:
    columns: dict[str, tuple[Any, list[Any]]] = {"image": (datasets.Image(), [None]), "label": (named("a", "b"), [0])}
    where = saved(tmp_path / "x", train=columns)
    assert hugging_face_dataset(where).notes == ("split 'train' has no image of 1 class: b",)
