"""Detection datasets in YOLO's layout: a YAML file names splits and classes, text files hold the boxes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from storage.datasets.base import DatasetInvalid, ImageRecord
from storage.datasets.detection import Box, DetectionDataset, checked_box, image_record
from storage.datasets.files import IMAGE_SUFFIXES

FILES = ("data.yaml", "dataset.yaml", "config.yaml")
EXPECTED = "expected data.yaml with train, val and names, images in images/, boxes in labels/"
LINE = "expected class, x, y, width, height"
UNKNOWN_SIZE = (0, 0)
SPLITS = ("train", "val", "test")
ORIENTATION, TURNED = 0x0112, range(5, 9)  # EXIF's tag, and its values where width and height change places


def is_yolo_folder(root: Path) -> bool:
    return any((root / file).is_file() for file in FILES)


def yolo_dataset(place: Path, *, name: str | None = None) -> DetectionDataset:
    """The dataset that a YAML file describes, or one of FILES in a folder.

    `train`, `val` and `test` name folders of images, or text files that list them, below `path` or the file's own
    folder; the boxes of images/x/1.jpg are in labels/x/1.txt, a line each: class, centre, size as shares of the image.
    An outline instead of centre and size counts as the box around it. An image without such a file shows background
    only. Raises DatasetInvalid, naming file and line.
    """
    file = place if place.is_file() else next((place / one for one in FILES if (place / one).is_file()), None)
    if file is None:
        raise DatasetInvalid(f"no YOLO dataset at {place}; {EXPECTED}")
    document = _read(file)
    class_names = _class_names(document, file)
    root = _root(document, file)
    records: list[ImageRecord] = []
    paths: dict[str, Path] = {}
    boxes: dict[str, Sequence[Box]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    for split in (split for split in SPLITS if document.get(split)):
        for path in _image_files(root, document[split], file):
            image_id = path.relative_to(root).as_posix()
            records.append(image_record(image_id, split))
            sizes[image_id] = _size(path)
            paths[image_id], boxes[image_id] = path, _boxes(path, sizes[image_id], len(class_names))
    if not records:
        raise DatasetInvalid(f"{file} names no images; {EXPECTED}")
    name = name or root.resolve().name
    return DetectionDataset(name=name, class_names=class_names, records=records, paths=paths, boxes=boxes, sizes=sizes)


def _read(file: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DatasetInvalid(f"cannot read {file} ({' '.join(str(error).split())})") from error
    if not isinstance(document, dict) or "names" not in document:
        raise DatasetInvalid(f"{file} has no 'names'; {EXPECTED}")
    return document


def _class_names(document: dict[str, Any], file: Path) -> tuple[str, ...]:
    names = document["names"]
    if isinstance(names, dict):
        if sorted(names) != list(range(len(names))):
            raise DatasetInvalid(f"{file}: the classes in 'names' are not numbered 0, 1, 2, ...; number them so")
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise DatasetInvalid(f"{file}: 'names' is no list of classes; {EXPECTED}")
    return tuple(map(str, names))


def _root(document: dict[str, Any], file: Path) -> Path:
    """`path` where it exists; else the file's own folder, since a dataset that has moved often says where it was."""
    named = Path(str(document.get("path") or ".")).expanduser()
    root = Path(os.path.normpath(file.parent / named))
    return root if root.is_dir() else file.parent


def _image_files(root: Path, places: Any, file: Path) -> list[Path]:
    found: list[Path] = []
    for named in places if isinstance(places, list) else [places]:
        # Many an export says ../train/images where it means train/images.
        tried = [Path(os.path.normpath(root / place)) for place in (str(named), str(named).removeprefix("../"))]
        place = next((one for one in tried if one.exists()), None)
        if place is None:
            raise DatasetInvalid(f"{file} names {named}, but there is no {tried[0]}; correct it")
        if place.is_dir():
            found += [path for path in place.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
        else:
            lines = place.read_text(encoding="utf-8").split("\n")
            found += [root / line.strip().removeprefix("./") for line in lines if line.strip()]
    for path in found:
        if not path.is_relative_to(root):
            raise DatasetInvalid(f"{file} names {path}, which is not below {root}; set 'path' to a folder above both")
    return sorted(set(found))


def _boxes(path: Path, size: tuple[int, int], classes: int) -> tuple[Box, ...]:
    label_file = _label_file(path)
    if not label_file.is_file() or size == UNKNOWN_SIZE:
        return ()
    found = []
    for number, line in enumerate(label_file.read_text(encoding="utf-8").splitlines()):
        if not line.strip():
            continue
        where = f"{label_file}, line {number + 1}"
        label, shares = _parse(line, where)
        if not 0 <= label < classes:
            raise DatasetInvalid(f"{where}: there is no class {label}; 'names' has 0 to {classes - 1}")
        if len(shares) == 4:
            x, y, width, height = shares
            shares = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
        else:
            shares = [min(shares[::2]), min(shares[1::2]), max(shares[::2]), max(shares[1::2])]
        left, top, right, bottom = (share * side for share, side in zip(shares, (*size, *size), strict=True))
        box = checked_box(where, number=number, label=label, corners=(left, top, right, bottom), size=size)
        if box is not None:
            found.append(box)
    return tuple(found)


def _parse(line: str, where: str) -> tuple[int, list[float]]:
    try:
        label, *shares = [float(word) for word in line.split()]
    except ValueError as error:
        raise DatasetInvalid(f"{where}: {line.strip()!r} are no numbers; {LINE}") from error
    if not label.is_integer() or len(shares) < 4 or (len(shares) > 4 and len(shares) % 2):
        raise DatasetInvalid(f"{where}: {line.strip()!r} is no box; {LINE}")
    return int(label), shares


def _label_file(path: Path) -> Path:
    """labels/x/1.txt for images/x/1.jpg: the last folder of that name changes."""
    parts = list(path.with_suffix(".txt").parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return Path(*parts)


def _size(path: Path) -> tuple[int, int]:
    """Width and height of the upright image; UNKNOWN_SIZE where it cannot be opened, which is reported when it is
    read."""
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(ORIENTATION) in TURNED
            return (image.height, image.width) if turned else image.size
    # Pillow reports damage with whatever it stumbles over.
    except Exception:
        return UNKNOWN_SIZE
