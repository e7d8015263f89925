"""Each dataset's own layout on disk, written small, read through torchvision's real classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets
from scipy.io import savemat

from storage.datasets.base import DatasetInvalid, FileDataset
from storage.datasets.torchvision_datasets import SOURCES, torchvision_dataset
from tests.storage.datasets.tiny_images import draw, write


def make_stanford_cars(root: Path) -> None:
    base = root / "stanford_cars"
    devkit = base / "devkit"
    devkit.mkdir(parents=True)
    names = np.array(["Ram C/V Cargo Van Minivan 2012", "Geo Metro Convertible 1993"], dtype=object)
    savemat(devkit / "cars_meta.mat", {"class_names": names})
    for split, mat in (("train", devkit / "cars_train_annos.mat"), ("test", base / "cars_test_annos_withlabels.mat")):
        annotations = np.array([(2, "00001.jpg"), (1, "00002.jpg")], dtype=[("class", "u1"), ("fname", object)])
        savemat(mat, {"annotations": annotations})
        for number in (1, 2):
            draw(base / f"cars_{split}" / f"{number:05d}.jpg", shade=number)


def make_pets(root: Path) -> None:
    base = root / "oxford-iiit-pet"
    write(base / "annotations" / "trainval.txt", "shiba_inu_3 2 2 1\nAbyssinian_100 1 1 1\n")
    write(base / "annotations" / "test.txt", "Abyssinian_2 1 1 1\nshiba_inu_1 2 2 1\n")
    for stem in ("shiba_inu_3", "Abyssinian_100", "Abyssinian_2", "shiba_inu_1"):
        draw(base / "images" / f"{stem}.jpg")


def make_dtd(root: Path) -> None:
    base = root / "dtd" / "dtd"
    for number, split in enumerate(("train", "val", "test"), start=1):
        files = [f"{name}/{name}_000{number}.jpg" for name in ("zigzagged", "banded")]
        write(base / "labels" / f"{split}1.txt", "".join(f"{file}\n" for file in files))
        for file in files:
            draw(base / "images" / file)


def make_flowers(root: Path) -> None:
    base = root / "flowers-102"
    for number in range(1, 7):
        draw(base / "jpg" / f"image_{number:05d}.jpg", shade=number)
    savemat(base / "imagelabels.mat", {"labels": np.array([[77, 1, 77, 1, 77, 1]])})
    splits = {"trnid": [[5, 6]], "valid": [[3, 4]], "tstid": [[1, 2]]}
    savemat(base / "setid.mat", {key: np.array(numbers) for key, numbers in splits.items()})


def make_aircraft(root: Path) -> None:
    data = root / "fgvc-aircraft-2013b" / "data"
    write(data / "variants.txt", "707-320\nF/A-18\n")
    write(data / "images_variant_trainval.txt", "1025794 F/A-18\n0034309 707-320\n")
    write(data / "images_variant_test.txt", "2000001 707-320\n2000002 F/A-18\n")
    for name in ("1025794", "0034309", "2000001", "2000002"):
        draw(data / "images" / f"{name}.jpg")


def make_caltech(root: Path) -> None:
    base = root / "caltech101" / "101_ObjectCategories"
    for category, count in (("ant", 7), ("yin_yang", 6), ("BACKGROUND_Google", 3)):
        for number in range(1, count + 1):
            draw(base / category / f"image_{number:04d}.jpg", shade=number)
    write(base / "ant" / "Thumbs.db", "another file")


MAKERS: dict[str, Callable[[Path], None]] = {
    "StanfordCars": make_stanford_cars,
    "OxfordIIITPet": make_pets,
    "DTD": make_dtd,
    "Flowers102": make_flowers,
    "FGVCAircraft": make_aircraft,
    "Caltech101": make_caltech,
}


@pytest.fixture(autouse=True)
def own_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision knows the digests of Flowers102's real lists; None lets it take ours."""
    files = {key: (file, None) for key, (file, _) in torchvision.datasets.Flowers102._file_dict.items()}
    monkeypatch.setattr(torchvision.datasets.Flowers102, "_file_dict", files)


def opened(key: str, root: Path) -> FileDataset:
    MAKERS[key](root)
    return torchvision_dataset(key, root=root)


def rows(dataset: FileDataset) -> list[tuple[str, str, str]]:
    return [(record.split, record.label_name, record.image_id) for record in dataset.records]


def test_every_dataset_has_a_copy_here() -> None:
    assert MAKERS.keys() == SOURCES.keys()


@pytest.mark.parametrize("key", SOURCES)
def test_every_image_is_the_files_own_bytes_under_its_own_id(key: str, tmp_path: Path) -> None:
    dataset = opened(key, tmp_path)
    base = tmp_path / SOURCES[key].folder
    assert dataset.name == key
    assert len({record.image_id for record in dataset.records}) == len(dataset.records) > 0
    for record in dataset.records:
        assert dataset.read(record.image_id) == (base / record.image_id).read_bytes()
        assert dataset.class_names[record.label] == record.label_name


@pytest.mark.parametrize("key", sorted(set(SOURCES) - {"Caltech101"}))
def test_labels_are_those_that_torchvision_returns(key: str, tmp_path: Path) -> None:
    labels = {record.image_id: record.label for record in opened(key, tmp_path).records if record.split == "test"}
    there = getattr(torchvision.datasets, key)(tmp_path, split="test")
    files = SOURCES[key].files(there)
    assert len(there) == len(files) == len(labels)
    for number, (path, _) in enumerate(files):
        assert labels[path.relative_to(tmp_path / SOURCES[key].folder).as_posix()] == there[number][1]


def test_stanford_cars_keeps_files_of_one_name_apart(tmp_path: Path) -> None:
    assert rows(opened("StanfordCars", tmp_path)) == [
        ("train", "Ram C/V Cargo Van Minivan 2012", "cars_train/00002.jpg"),
        ("train", "Geo Metro Convertible 1993", "cars_train/00001.jpg"),
        ("test", "Ram C/V Cargo Van Minivan 2012", "cars_test/00002.jpg"),
        ("test", "Geo Metro Convertible 1993", "cars_test/00001.jpg"),
    ]


def test_pets_trainval_is_train(tmp_path: Path) -> None:
    assert rows(opened("OxfordIIITPet", tmp_path)) == [
        ("train", "Abyssinian", "images/Abyssinian_100.jpg"),
        ("train", "Shiba Inu", "images/shiba_inu_3.jpg"),
        ("test", "Abyssinian", "images/Abyssinian_2.jpg"),
        ("test", "Shiba Inu", "images/shiba_inu_1.jpg"),
    ]


def test_dtd_trains_on_train_and_val_of_its_first_partition(tmp_path: Path) -> None:
    assert rows(opened("DTD", tmp_path)) == [
        ("train", "banded", "dtd/images/banded/banded_0001.jpg"),
        ("train", "banded", "dtd/images/banded/banded_0002.jpg"),
        ("train", "zigzagged", "dtd/images/zigzagged/zigzagged_0001.jpg"),
        ("train", "zigzagged", "dtd/images/zigzagged/zigzagged_0002.jpg"),
        ("test", "banded", "dtd/images/banded/banded_0003.jpg"),
        ("test", "zigzagged", "dtd/images/zigzagged/zigzagged_0003.jpg"),
    ]


def test_flowers_keeps_its_three_splits(tmp_path: Path) -> None:
    dataset = opened("Flowers102", tmp_path)
    assert rows(dataset) == [
        ("train", "pink primrose", "jpg/image_00006.jpg"),
        ("train", "passion flower", "jpg/image_00005.jpg"),
        ("val", "pink primrose", "jpg/image_00004.jpg"),
        ("val", "passion flower", "jpg/image_00003.jpg"),
        ("test", "pink primrose", "jpg/image_00002.jpg"),
        ("test", "passion flower", "jpg/image_00001.jpg"),
    ]
    assert len(dataset.class_names) == 102


def test_aircraft_classes_are_variants(tmp_path: Path) -> None:
    assert rows(opened("FGVCAircraft", tmp_path)) == [
        ("train", "707-320", "data/images/0034309.jpg"),
        ("train", "F/A-18", "data/images/1025794.jpg"),
        ("test", "707-320", "data/images/2000001.jpg"),
        ("test", "F/A-18", "data/images/2000002.jpg"),
    ]


def test_caltech_trains_on_two_thirds_of_each_class_and_never_on_the_background(tmp_path: Path) -> None:
    dataset = opened("Caltech101", tmp_path)
    counted = [(split, name) for split, name, _ in rows(dataset)]
    assert dataset.class_names == ("ant", "yin_yang")
    assert {key: counted.count(key) for key in counted} == {
        ("train", "ant"): 5,
        ("train", "yin_yang"): 4,
        ("test", "ant"): 2,
        ("test", "yin_yang"): 2,
    }


def test_caltech_split_is_the_same_on_every_machine(tmp_path: Path) -> None:
    # The last third by `printf 0/ant/image_0001.jpg | sha256sum`, and so on.
    assert [
        image_id.partition("/")[2] for split, _, image_id in rows(opened("Caltech101", tmp_path)) if split == "test"
    ] == [
        "ant/image_0001.jpg",
        "ant/image_0006.jpg",
        "yin_yang/image_0001.jpg",
        "yin_yang/image_0005.jpg",
    ]


def test_names_are_case_insensitive(tmp_path: Path) -> None:
    make_dtd(tmp_path)
    assert torchvision_dataset("dtd", root=tmp_path).name == "DTD"
    assert torchvision_dataset("dtd", root=tmp_path, name="textures").name == "textures"


def test_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(DatasetInvalid, match="no dataset 'torchvision:CIFAR10'; known are StanfordCars, OxfordIIITPet"):
        torchvision_dataset("CIFAR10", root=tmp_path)


@pytest.mark.parametrize("key", SOURCES)
def test_missing_files_are_one_line_that_says_where_they_belong(key: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetInvalid) as caught:
        torchvision_dataset(key, root=tmp_path)
    message = str(caught.value)
    assert str(tmp_path / SOURCES[key].folder) in message
    assert SOURCES[key].how_to_get in message
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []  # looking makes no folders


def test_stanford_cars_cannot_be_downloaded(tmp_path: Path) -> None:
    with pytest.raises(DatasetInvalid, match=r"cannot be downloaded anymore.*get a mirror"):
        torchvision_dataset("StanfordCars", root=tmp_path, download=True)


def test_download_keeps_existing_files(tmp_path: Path) -> None:
    make_dtd(tmp_path)
    assert len(torchvision_dataset("DTD", root=tmp_path, download=True).records) == 6


@pytest.mark.parametrize(
    ("key", "removed"),
    [
        ("FGVCAircraft", "fgvc-aircraft-2013b/data/images_variant_test.txt"),
        ("Flowers102", "flowers-102/imagelabels.mat"),
        ("StanfordCars", "stanford_cars/cars_test_annos_withlabels.mat"),
        ("DTD", "dtd/dtd/labels/val1.txt"),
    ],
)
def test_a_half_unpacked_dataset(key: str, removed: str, tmp_path: Path) -> None:
    MAKERS[key](tmp_path)
    (tmp_path / removed).unlink()
    with pytest.raises(DatasetInvalid, match=f"cannot open {key} at {tmp_path}"):
        torchvision_dataset(key, root=tmp_path)


def test_caltech_without_its_background_folder(tmp_path: Path) -> None:
    import shutil

    make_caltech(tmp_path)
    shutil.rmtree(tmp_path / "caltech101" / "101_ObjectCategories" / "BACKGROUND_Google")
    with pytest.raises(DatasetInvalid, match="cannot open Caltech101"):
        torchvision_dataset("Caltech101", root=tmp_path)


def test_real_digests_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_flowers(tmp_path)
    monkeypatch.undo()
    with pytest.raises(DatasetInvalid, match="not found or corrupted"):
        torchvision_dataset("Flowers102", root=tmp_path)


def test_classes_that_differ_between_splits(tmp_path: Path) -> None:
    make_pets(tmp_path)
    write(tmp_path / "oxford-iiit-pet" / "annotations" / "test.txt", "Abyssinian_2 1 1 1\n")
    with pytest.raises(DatasetInvalid, match="has other classes in 'test'"):
        torchvision_dataset("OxfordIIITPet", root=tmp_path)
