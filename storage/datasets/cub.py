"""CUB-200-2011 (Caltech-UCSD Birds) in the layout of its archive."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from storage.datasets.base import DatasetInvalid, FileDataset, ImageRecord
from storage.datasets.builder import inside
from storage.datasets.files import counted, listing
from storage.documents import DocumentInvalid, read_text
from storage.text import printable

LISTS = ("images.txt", "train_test_split.txt", "image_class_labels.txt", "classes.txt")
LONGEST_NUMBER = 18  # digits
HOW_TO_GET = "unpack CUB_200_2011.tgz (https://data.caltech.edu/records/65de6-vp158) and name its folder CUB_200_2011"


def is_cub_folder(folder: Path) -> bool:
    return all((folder / file).is_file() for file in LISTS)


def cub_200_2011(folder: Path, *, name: str | None = None) -> FileDataset:
    """Read CUB-200-2011 from `folder`, which holds `images.txt` and its three companions, or from its folder
    `CUB_200_2011`.

    Splits are the official ones: 5,994 training and 5,794 test images. `image_id` is `images/...`; class names lose
    their number and underscores (`001.Black_footed_Albatross` is "Black footed Albatross"). Order: split, class, file.
    Raises DatasetInvalid, naming the file.
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
    _refuse_repeated(root / "images.txt", files)
    label_of = {number: label for label, number in enumerate(sorted(classes))}
    class_names = tuple(_readable(classes[number]) for number in sorted(classes))
    _refuse_repeated(root / "classes.txt", dict(zip(sorted(classes), class_names, strict=True)))

    records: list[ImageRecord] = []
    paths: dict[str, Path] = {}
    missing: list[str] = []
    for image, file in files.items():
        label = label_of.get(_number(class_of[image], root / "image_class_labels.txt"))
        if label is None or trains[image] not in ("0", "1"):
            raise DatasetInvalid(f"{root} gives image {image} ({file}) no known class or split; {HOW_TO_GET}")
        path = inside(root, root / "images", file, f"{root / 'images.txt'}: image {image}")
        if not path.is_file():
            missing.append(file)
            continue
        image_id = path.relative_to(root).as_posix()
        split = "train" if trains[image] == "1" else "test"
        records.append(ImageRecord(image_id=image_id, split=split, label=label, label_name=class_names[label]))
        paths[image_id] = path
    notes = _refuse_losses(root, class_names, records, missing)
    records.sort(key=lambda record: (record.split != "train", record.label, record.image_id))
    return FileDataset(name=name or "CUB_200_2011", class_names=class_names, records=records, places=paths, notes=notes)


def _refuse_repeated(path: Path, named: Mapping[int, str]) -> None:
    seen: dict[str, int] = {}
    for number, what in named.items():
        if (first := seen.setdefault(what, number)) != number:
            raise DatasetInvalid(f"{path} has '{printable(what, 120)}' twice, as {first} and {number}; {HOW_TO_GET}")


def _refuse_losses(
    root: Path, class_names: Sequence[str], records: Sequence[ImageRecord], missing: Sequence[str]
) -> tuple[str, ...]:
    """Return a note about listed images that are missing. Raises DatasetInvalid if a class or a split loses all of its
    images."""
    if not missing:
        return ()
    said = f"{counted(len(missing), 'listed image')} not in {root / 'images'} and left out: {listing(missing)}"
    classes, splits = ({getattr(record, what) for record in records} for what in ("label_name", "split"))
    for what, every, left in (("class", class_names, classes), ("split", ("train", "test"), splits)):
        if lost := [name for name in every if name not in left]:
            raise DatasetInvalid(f"{what} '{lost[0]}' has no images: {said}; {HOW_TO_GET}")
    return (said,)


def _numbered(path: Path) -> dict[int, str]:
    """Return the lines `NUMBER REST` of a list."""
    try:
        lines = read_text(path).splitlines()
    except (OSError, DocumentInvalid) as error:
        raise DatasetInvalid(f"cannot read a list of CUB-200-2011: {error}; {HOW_TO_GET}") from error
    found: dict[int, str] = {}
    for line in lines:
        if line.strip():
            text, _, rest = line.strip().partition(" ")
            number = _number(text, path)
            if number in found:
                raise DatasetInvalid(f"{path} has the number {number} twice; {HOW_TO_GET}")
            found[number] = rest.strip()
    return found


def _number(text: str, path: Path) -> int:
    if not text.isdecimal() or len(text) > LONGEST_NUMBER:
        raise DatasetInvalid(f"{path} has {printable(repr(text), 80)} where a number should be; {HOW_TO_GET}")
    return int(text)


def _readable(class_name: str) -> str:
    return re.sub(r"^\d+\.", "", class_name).replace("_", " ")
