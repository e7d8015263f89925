from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path

import pytest

from storage.datasets import DatasetInvalid, ImageDataset, open_dataset
from storage.datasets.base import StampedDataset
from storage.datasets.webdataset import index
from tests.storage.datasets.tiny_images import draw, write


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "aspects" / "tar"


def pack(path: Path, **members: bytes | str) -> Path:
    """Write a tar file; `__` in a name stands for a point."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            data = content.encode() if isinstance(content, str) else content
            header = tarfile.TarInfo(name.replace("__", "."))
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))
    return path


def images(folder: Path, count: int, suffix: str = "jpg") -> list[bytes]:
    return [draw(folder / f"{number}.{suffix}", 20 * number) for number in range(count)]


def rows(dataset: ImageDataset) -> list[tuple[str, str, str]]:
    return [(record.image_id, record.split, record.label_name) for record in dataset.records]


def test_splits_labels_and_bytes(tmp_path: Path) -> None:
    one, two, three = images(tmp_path / "drawn", 3)
    folder = tmp_path / "pets"
    pack(folder / "train-000000.tar", a__jpg=one, a__cls="1", b__jpg=two, b__cls="0\n")
    pack(folder / "test-000000.tar", c__cls="1", c__jpg=three)
    dataset = open_dataset(str(folder))
    expected = [
        ("train-000000.tar/a.jpg", "train"),
        ("train-000000.tar/b.jpg", "train"),
        ("test-000000.tar/c.jpg", "test"),
    ]
    assert rows(dataset) == [(*row, label) for row, label in zip(expected, "101", strict=True)]
    assert [dataset.read(image_id) for image_id, _ in expected] == [one, two, three]
    assert pickle.loads(pickle.dumps(dataset.subset(dataset.records[1:2]))).read("train-000000.tar/b.jpg") == two
    assert isinstance(dataset, StampedDataset)
    assert dataset.stamp("train-000000.tar/b.jpg").size == len(two)
    write(folder / "classnames.txt", "cat\ndog\n")
    assert [label for _, _, label in rows(open_dataset(f"webdataset:{folder}"))] == ["dog", "cat", "dog"]
    assert open_dataset(str(folder / "test-000000.tar")).records[0].image_id == "test-000000.tar/c.jpg"


@pytest.mark.parametrize(
    ("sample", "options", "label"),
    [
        ({"a__json": '{"label": "cat", "width": 8}'}, "", "cat"),
        ({"a__json": '{"kind": 7, "label": "cat"}', "a__cls": "9"}, "?label=kind", "7"),
        ({"a__txt": "cat\n"}, "", "cat"),
        ({"a__json": '{"url": "x"}'}, "", ""),
        ({}, "", ""),
    ],
)
def test_where_labels_are_found(tmp_path: Path, sample: dict[str, str], options: str, label: str) -> None:
    (image,) = images(tmp_path / "drawn", 1, "webp")
    known: dict[str, bytes | str] = {"b__webp": image, "b__json": '{"kind": "x", "label": "x"}'}
    pack(tmp_path / "pets" / "0.tar", a__webp=image, **sample, **known)
    found = {image_id: (split, name) for image_id, split, name in rows(open_dataset(f"{tmp_path / 'pets'}{options}"))}
    assert found["0.tar/a.webp"] == ("train" if label else "unlabelled", label)


def test_the_index_is_made_once(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = images(tmp_path / "drawn", 2)
    file = pack(tmp_path / "pets" / "0.tar", a__jpg=one, a__cls="0")
    first = open_dataset(str(file))
    monkeypatch.setattr(index, "_members", None)
    assert rows(open_dataset(str(file))) == rows(first)
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    pack(file, a__jpg=two, a__cls="0", b__jpg=one, b__cls="1")
    assert open_dataset(str(file)).read("0.tar/a.jpg") == two
    for cached in cache.iterdir():
        cached.write_bytes(b"damaged")
    assert len(open_dataset(str(file)).records) == 2


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"a__jpg": b"1", "a__png": b"2", "a__cls": "0"}, "has two images of the sample a: a.jpg and a.png"),
        ({"a__jpg": b"1", "a__json": "{"}, r"0.tar, a.jpg: its .json is no valid JSON"),
        ({"a__jpg": b"1", "a__json": '{"label": [1]}'}, r"'label' in its .json is \[1\], not a class"),
        ({"a__jpg": b"1"}, "no image of .* has a label"),
        ({"a__cls": "1"}, "no image of .* has a label"),
        ({f"{x}__{kind}": f"text {x}" for x in range(25) for kind in ("jpg", "txt")}, "name the field of .json"),
    ],
)
def test_bad_samples_are_one_line(tmp_path: Path, members: dict[str, str], reason: str) -> None:
    with pytest.raises(DatasetInvalid, match=reason) as caught:
        open_dataset(str(pack(tmp_path / "0.tar", **members)))
    assert "\n" not in str(caught.value)


def test_damaged_files_are_one_line(tmp_path: Path) -> None:
    file = pack(tmp_path / "0.tar", a__cls="1", a__jpg=bytes(5000))
    whole = file.read_bytes()
    file.write_bytes(whole[:3000])
    with pytest.raises(DatasetInvalid, match=r"0\.tar is cut off in a\.jpg; copy it again"):
        open_dataset(str(file))
    file.write_bytes(b"\x1f\x8b" + whole)
    with pytest.raises(DatasetInvalid, match=r"cannot read .*0\.tar as a tar file .*it must not be compressed"):
        open_dataset(str(file))
    write(tmp_path / "classes.txt", "cat\n")
    file.write_bytes(whole)
    with pytest.raises(DatasetInvalid, match="label '1' is none of the 1 classes"):
        open_dataset(str(file))
