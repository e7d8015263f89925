"""Real Hugging Face datasets, written to disk and read without a network."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from storage.datasets.base import DatasetInvalid
from storage.datasets.hugging_face.dataset import TableDataset, hugging_face_dataset
from tests.storage.datasets.tiny_images import draw

datasets = pytest.importorskip("datasets", reason="Hugging Face's datasets is an optional extra")

FEATURES = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["daisy", "rose"])}


@pytest.fixture(autouse=True)
def quiet() -> None:
    datasets.disable_progress_bars()


@pytest.fixture
def files(tmp_path: Path) -> list[bytes]:
    """The bytes of four images that differ."""
    return [draw(tmp_path / "made" / f"{number}.png", shade=number) for number in range(4)]


def table(
    images: Sequence[bytes | None], labels: list[object], features: dict[str, object] | None = None, **more: object
) -> Any:
    cells = [None if image is None else {"bytes": image, "path": None} for image in images]
    columns = {"image": cells, "label": labels, **more}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features or FEATURES))


@pytest.fixture
def saved(tmp_path: Path, files: list[bytes]) -> Path:
    """What `save_to_disk` writes, splits in an order of their own."""
    splits = {"test": table(files[3:], [0]), "train": table(files[:3], [1, 0, 1])}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "flowers")
    return tmp_path / "flowers"


def rows(dataset: TableDataset) -> list[tuple[str, str, str]]:
    return [(record.split, record.label_name, record.image_id) for record in dataset.records]


def test_saved_to_disk(saved: Path, files: list[bytes]) -> None:
    dataset = hugging_face_dataset(str(saved))
    assert dataset.name == "flowers"
    assert dataset.class_names == ("daisy", "rose")
    assert rows(dataset) == [
        ("train", "rose", "train/0000000"),
        ("train", "daisy", "train/0000001"),
        ("train", "rose", "train/0000002"),
        ("test", "daisy", "test/0000000"),
    ]
    assert [dataset.read(record.image_id) for record in dataset.records] == files
    with pytest.raises(KeyError):
        dataset.read("train/0000009")


def test_one_saved_table_is_its_own_split(tmp_path: Path, files: list[bytes]) -> None:
    table(files, [0, 1, 0, 1]).save_to_disk(tmp_path / "one")
    assert {split for split, _, _ in rows(hugging_face_dataset(str(tmp_path / "one"), name="mine"))} == {"train"}


def test_a_parquet_file_and_a_folder_of_them(tmp_path: Path, files: list[bytes]) -> None:
    (tmp_path / "flowers").mkdir()
    table(files[:3], [0, 1, 1]).to_parquet(tmp_path / "flowers" / "train-00000.parquet")
    table(files[3:], [0]).to_parquet(tmp_path / "flowers" / "test-00000.parquet")
    folder = hugging_face_dataset(str(tmp_path / "flowers"), cache=tmp_path / "cache")
    assert [split for split, _, _ in rows(folder)] == ["train", "train", "train", "test"]
    assert [folder.read(record.image_id) for record in folder.records] == files
    file = hugging_face_dataset(str(tmp_path / "flowers" / "train-00000.parquet"), cache=tmp_path / "cache")
    assert (file.name, [label for _, label, _ in rows(file)]) == ("train-00000", ["daisy", "rose", "rose"])


def test_a_folder_of_images_keeps_their_paths(tmp_path: Path) -> None:
    written = {
        f"{split}/{name}/1.png": draw(tmp_path / "images" / split / name / "1.png", shade=number)
        for number, (split, name) in enumerate([("train", "daisy"), ("train", "rose"), ("test", "daisy")])
    }
    dataset = hugging_face_dataset(str(tmp_path / "images"), cache=tmp_path / "cache")
    assert {record.image_id: dataset.read(record.image_id) for record in dataset.records} == written


def test_paths_beside_embedded_bytes_name_the_images(tmp_path: Path, files: list[bytes]) -> None:
    cells = [{"bytes": data, "path": f"{number}.png"} for number, data in enumerate(files)]
    named = datasets.Dataset.from_dict({"image": cells, "label": [0, 1, 0, 1]}, features=datasets.Features(FEATURES))
    named.save_to_disk(tmp_path / "named")
    dataset = hugging_face_dataset(str(tmp_path / "named"))
    assert [image_id for _, _, image_id in rows(dataset)] == [f"train/{number}.png" for number in range(4)]
    assert dataset.read("train/2.png") == files[2]


def test_paths_that_repeat_give_way_to_row_numbers(tmp_path: Path, files: list[bytes]) -> None:
    cells = [{"bytes": data, "path": "image.png"} for data in files]
    same = datasets.Dataset.from_dict({"image": cells, "label": [0, 1, 0, 1]}, features=datasets.Features(FEATURES))
    same.save_to_disk(tmp_path / "same")
    dataset = hugging_face_dataset(str(tmp_path / "same"))
    assert [image_id for _, _, image_id in rows(dataset)] == [f"train/{number:07d}" for number in range(4)]
    assert [dataset.read(record.image_id) for record in dataset.records] == files


def test_images_are_not_decoded(tmp_path: Path) -> None:
    table([b"no image at all"], [0]).save_to_disk(tmp_path / "damaged")
    assert hugging_face_dataset(str(tmp_path / "damaged")).read("train/0000000") == b"no image at all"


def test_a_row_without_an_image_is_listed_and_unreadable(tmp_path: Path, files: list[bytes]) -> None:
    table([files[0], None], [0, 1]).save_to_disk(tmp_path / "holes")
    dataset = hugging_face_dataset(str(tmp_path / "holes"))
    assert len(dataset.records) == 2
    with pytest.raises(FileNotFoundError, match="row 1 of split 'train' of 'holes' holds no image"):
        dataset.read("train/0000001")


def test_columns_by_name(tmp_path: Path, files: list[bytes]) -> None:
    features = {
        "image": datasets.Image(),
        "depth": datasets.Image(),
        "label": datasets.Value("string"),
        "kind": datasets.ClassLabel(names=["a", "b"]),
    }
    depth = [{"bytes": image, "path": None} for image in files[2:]]
    table(files[:2], ["rose", "daisy"], features, depth=depth, kind=[1, 0]).save_to_disk(tmp_path / "two")
    where = str(tmp_path / "two")
    with pytest.raises(DatasetInvalid, match=r"several image columns \(image, depth\); name it: hf:.*\?image=COLUMN"):
        hugging_face_dataset(where)
    by_kind = hugging_face_dataset(f"{where}?image=depth")
    assert [label for _, label, _ in rows(by_kind)] == ["b", "a"]
    assert by_kind.read("train/0000000") == files[2]
    by_text = hugging_face_dataset(f"{where}?image=image&label=label")
    assert by_text.class_names == ("daisy", "rose")
    assert [label for _, label, _ in rows(by_text)] == ["rose", "daisy"]


def test_plain_numbers_in_a_column_called_label_are_classes(tmp_path: Path, files: list[bytes]) -> None:
    features = {"image": datasets.Image(), "label": datasets.Value("int64")}
    table(files[:3], [10, 9, 10], features).save_to_disk(tmp_path / "numbers")
    dataset = hugging_face_dataset(str(tmp_path / "numbers"))
    assert dataset.class_names == ("9", "10")
    assert [record.label for record in dataset.records] == [1, 0, 1]


def test_unlabelled_splits_can_be_left_out(tmp_path: Path, files: list[bytes]) -> None:
    splits = {"train": table(files[:2], [1, 0]), "test": table(files[2:], [-1, -1])}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "hidden")
    where = str(tmp_path / "hidden")
    with pytest.raises(DatasetInvalid, match=r"row 0 of split 'test' .* has no label; .*\?split=train"):
        hugging_face_dataset(where)
    assert {split for split, _, _ in rows(hugging_face_dataset(f"{where}?split=train"))} == {"train"}


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("?colour=red", "unknown option 'colour'; known are image, label"),
        ("?split=val", "has no split 'val'; it has train, test"),
        ("?image=photo", "has no column 'photo' in split 'train'; it has image, label"),
        ("?image=label", "column 'label' of hf:.* not images"),
    ],
)
def test_wrong_options(saved: Path, query: str, reason: str) -> None:
    with pytest.raises(DatasetInvalid, match=reason):
        hugging_face_dataset(f"{saved}{query}")


def test_no_label_column(tmp_path: Path, files: list[bytes]) -> None:
    features = {"image": datasets.Image(), "label": datasets.Value("int64")}
    table(files, [0, 1, 0, 1], features).rename_column("label", "score").save_to_disk(tmp_path / "bare")
    with pytest.raises(DatasetInvalid, match=r"no label column; name it: hf:.*\?label=COLUMN"):
        hugging_face_dataset(str(tmp_path / "bare"))


def test_a_folder_without_a_dataset_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetInvalid, match=r"cannot load hf:.*/empty") as caught:
        hugging_face_dataset(str(tmp_path / "empty"), cache=tmp_path / "cache")
    assert "\n" not in str(caught.value)


def test_without_the_library(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DatasetInvalid, match=r"pip install 'aspects\[huggingface\]'"):
        hugging_face_dataset(str(saved))


def test_a_subset_reads_the_same_in_another_process(saved: Path, files: list[bytes]) -> None:
    dataset = hugging_face_dataset(str(saved))
    sent = pickle.dumps(dataset.subset(dataset.records[1:2]))
    assert files[1] not in sent  # the name of the file that holds it
    part = pickle.loads(sent)
    assert [part.read(record.image_id) for record in part.records] == [files[1]]
    assert list(part.tables) == ["train"]
