"""CUB-200-2011 (Caltech-UCSD Birds) in the layout of its own archive."""

from __future__ import annotations

import re
from pathlib import Path

from storage.datasets.base import DatasetInvalid, FileDataset, ImageRecord

LISTS = ("images.txt", "train_test_split.txt", "image_class_labels.txt", "classes.txt")
HOW_TO_GET = "unpack CUB_200_2011.tgz (https://data.caltech.edu/records/65de6-vp158) and name its folder CUB_200_2011"


def is_cub_folder(folder: Path) -> bool:
    return all((folder / file).is_file() for file in LISTS)


def cub_200_2011(folder: Path, *, name: str | None = None) -> FileDataset:
    """The birds in `folder`, which holds `images.txt` and its three companions, or in its folder `CUB_200_2011`.

    Splits are the official ones: 5,994 images to train on, 5,794 to test. `image_id` is `images/...`; class names lose
    their number and underscores (`001.Black_footed_Albatross` is "Black footed Albatross"). Order: split, class, file.
    Raises DatasetInvalid, naming the file at fault.
    """
    root = folder / "CUB_200_2011" if is_cub_folder(folder / "CUB_200_2011") else folder
    for file in LISTS:
        if not (root / file).is_file():
            raise DatasetInvalid(f"no CUB-200-2011 at {folder}: {file} is missing; {HOW_TO_GET}")
    files = _numbered(root / "images.txt")
    trains = _numbered(root / "train_test_split.txt")
    classes = _numbered(root / "classes.txt")
    class_of = _numbered(root / "image_class_labels.txt")
    for companion, numbers in (("train_test_split.txt", trains), ("image_class_labels.txt", class_of)):
        if numbers.keys() != files.keys():
            stray = min(numbers.keys() ^ files.keys())
            raise DatasetInvalid(f"{root / companion} and images.txt differ about image {stray}; {HOW_TO_GET}")
    label_of = {number: label for label, number in enumerate(sorted(classes))}
    class_names = tuple(_readable(classes[number]) for number in sorted(classes))

    records: list[ImageRecord] = []
    paths: dict[str, Path] = {}
    for image, file in files.items():
        label = label_of.get(_number(class_of[image], root / "image_class_labels.txt"))
        if label is None or trains[image] not in ("0", "1"):
            raise DatasetInvalid(f"{root} gives image {image} ({file}) no known class or split; {HOW_TO_GET}")
        image_id = f"images/{file}"
        split = "train" if trains[image] == "1" else "test"
        records.append(ImageRecord(image_id=image_id, split=split, label=label, label_name=class_names[label]))
        paths[image_id] = root / "images" / file
    records.sort(key=lambda record: (record.split != "train", record.label, record.image_id))
    return FileDataset(name=name or "CUB_200_2011", class_names=class_names, records=records, paths=paths)


def _numbered(path: Path) -> dict[int, str]:
    """The lines `NUMBER REST` of a list."""
    found: dict[int, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            number, _, rest = line.strip().partition(" ")
            found[_number(number, path)] = rest.strip()
    return found


def _number(text: str, path: Path) -> int:
    if not text.isdecimal():
        raise DatasetInvalid(f"{path} has {text!r} where a number should be; {HOW_TO_GET}")
    return int(text)


def _readable(class_name: str) -> str:
    return re.sub(r"^\d+\.", "", class_name).replace("_", " ")
