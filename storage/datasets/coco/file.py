"""Read COCO's JSON of objects and validate every value; errors name file and entry."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from storage.datasets.base import Corners, DatasetInvalid
from storage.datasets.image_size import Size
from storage.documents import DocumentInvalid, read_json
from storage.text import is_unicode, printable

LARGEST = 2 << 30  # bytes: COCO's own largest file has 450 MB
NEEDED = {
    "images": ("id", "file_name"),
    "annotations": ("id", "image_id", "category_id", "bbox"),
    "categories": ("id", "name"),
}
LONGEST_NUMBER = 18  # digits

ImageNumber = int | str


@dataclass(frozen=True, slots=True)
class CocoImage:
    """An image; `size` is the width and height in the file, None if missing."""

    number: ImageNumber
    file_name: str
    size: Size | None


class CocoObject(NamedTuple):
    """One annotation. A plain tuple, since there can be a million of them."""

    number: int
    image: ImageNumber
    category: int
    corners: Corners
    crowd: bool


@dataclass(frozen=True)
class CocoFile:
    """The contents of a file: `categories` has names by number; objects and images are in the file's order."""

    path: Path
    categories: Mapping[int, str]
    images: tuple[CocoImage, ...]
    objects: tuple[CocoObject, ...]


def read_coco_file(path: Path) -> CocoFile:
    """Read an annotation file. Raises DatasetInvalid, naming the file and the entry, for any invalid value."""
    document = _document(path)
    categories, images = _categories(path, _without_groups(document)), _images(path, document["images"])
    return CocoFile(path, categories, images, _objects(path, document["annotations"]))


def _document(path: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        document = read_json(path, limit=LARGEST)
    except (OSError, DocumentInvalid) as error:
        raise DatasetInvalid(f"cannot read COCO annotations: {error}") from error
    for part, fields in NEEDED.items():
        entries = document.get(part) if isinstance(document, dict) else None
        if not isinstance(entries, list):
            raise DatasetInvalid(f"{path} has no list '{part}'; it is no COCO file of objects")
        for place, entry in enumerate(entries):
            if type(entry) is not dict:
                raise _wrong(path, f"{part}[{place}]", entry, "an object with " + ", ".join(fields))
            for name in fields:
                if name not in entry:
                    raise DatasetInvalid(f"{path}: entry {place} of '{part}' has no '{name}'; add it")
    return document


def _without_groups(document: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the categories without Roboflow's first one, which no box has, if it is the name of the project and of a
    class too."""
    first, *others = document["categories"] or [{}]
    if first.get("supercategory") != "none" or all(first["name"] != other["name"] for other in others):
        return document["categories"]
    used = any(entry["category_id"] == first["id"] for entry in document["annotations"])
    return document["categories"] if used else others


def _categories(path: Path, entries: list[dict[str, Any]]) -> dict[int, str]:
    names: dict[int, str] = {}
    for place, entry in enumerate(entries):
        where = f"categories[{place}]"
        number, name = _whole(path, f"{where}.id", entry["id"]), entry["name"]
        if type(name) is int:
            name = str(name)
        if not isinstance(name, str) or not name.strip() or not is_unicode(name):
            raise _wrong(path, f"{where}.name", name, "a name")
        if number in names or name in names.values():
            raise DatasetInvalid(
                f"{path}: {where} has the id {number} and the name '{printable(name, 80)}', "
                "one of which another category has; give each its own"
            )
        names[number] = name
    return names


def _images(path: Path, entries: list[dict[str, Any]]) -> tuple[CocoImage, ...]:
    images: dict[ImageNumber, CocoImage] = {}
    for place, entry in enumerate(entries):
        where = f"images[{place}]"
        number, name = entry["id"], entry["file_name"]
        if type(number) is not int:
            number = _image_number(path, f"{where}.id", number)
        if not isinstance(name, str) or not name:
            raise _wrong(path, f"{where}.file_name", name, "the name of a file")
        if number in images:
            raise DatasetInvalid(
                f"{path}: {where} has the id {number} of {printable(images[number].file_name, 200)}; "
                "give each image an id of its own"
            )
        images[number] = CocoImage(number, name.replace("\\", "/"), _size(path, where, entry))  # of tools on Windows
    return tuple(images.values())


def _size(path: Path, where: str, entry: Mapping[str, Any]) -> Size | None:
    width, height = entry.get("width"), entry.get("height")
    if width is None and height is None:
        return None
    sides = []
    for name, side in (("width", width), ("height", height)):
        if type(side) is float and side.is_integer():
            side = int(side)
        if type(side) is not int or side < 1:
            raise _wrong(path, f"{where}.{name}", side, "a number of pixels, or be left out together with the other")
        sides.append(side)
    return sides[0], sides[1]


def _objects(path: Path, entries: list[dict[str, Any]]) -> tuple[CocoObject, ...]:
    objects = []
    for place, entry in enumerate(entries):
        number, image, category = entry["id"], entry["image_id"], entry["category_id"]
        # Check the common types first: there can be a million entries.
        if type(number) is not int:
            number = _whole(path, f"annotations[{place}].id", number)
        if type(image) is not int:
            image = _image_number(path, f"annotations[{place}].image_id", image)
        if type(category) is not int:
            category = _whole(path, f"annotations[{place}].category_id", category)
        crowd = entry.get("iscrowd")
        if crowd is not None and (type(crowd) not in (int, bool) or crowd not in (0, 1)):
            raise _wrong(path, f"annotations[{place}].iscrowd", crowd, "0 or 1")
        corners = _corners(entry["bbox"])
        if corners is None:
            raise _wrong(
                path, f"annotations[{place}].bbox", entry["bbox"], "four numbers: left, top, width and height in pixels"
            )
        objects.append(CocoObject(number, image, category, corners, bool(crowd)))
    return tuple(objects)


def _corners(bbox: Any) -> Corners | None:
    """Return the box's corners; None unless it has four finite numbers."""
    if type(bbox) is not list or len(bbox) != 4:
        return None
    for value in bbox:
        if type(value) is not float and type(value) is not int:
            return None
    try:
        left, top, width, height = map(float, bbox)
    except OverflowError:  # a number with hundreds of digits
        return None
    right, bottom = left + width, top + height
    if not (math.isfinite(right) and math.isfinite(bottom)):
        return None
    return left, top, right, bottom


def _whole(path: Path, where: str, value: Any) -> int:
    """Return a whole number; tools also write 7.0 and "7"."""
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is str and value.isascii() and value.isdigit() and len(value) <= LONGEST_NUMBER:
        return int(value)
    raise _wrong(path, where, value, "a whole number")


def _image_number(path: Path, where: str, value: Any) -> ImageNumber:
    """Return an image's number; some exports use text."""
    return value if type(value) is str and value else _whole(path, where, value)


def _wrong(path: Path, where: str, value: Any, wanted: str) -> DatasetInvalid:
    return DatasetInvalid(f"{path}: {where} is {printable(reprlib.repr(value), 80)}; it must be {wanted}")
