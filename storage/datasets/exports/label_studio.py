"""Label Studio's JSON and JSON-MIN. Its COCO and YOLO exports are read as such."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from storage.datasets.base import Corners, DatasetInvalid
from storage.datasets.exports.export import Export, ExportedImage, ExportedObject
from storage.datasets.exports.values import bounding_box, numbers, objects, read_document, text, turned, wrong
from storage.datasets.image_size import Size

TOOL = "Label Studio"
FILES = "project-*-at-*.json"
UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")  # what Label Studio puts before the name of an uploaded file
SHAPES = {"rectanglelabels": "rectanglelabels", "polygonlabels": "polygonlabels"}


def is_label_studio_folder(root: Path) -> bool:
    return any(root.glob(FILES))


def find_label_studio_file(place: Path) -> Path | None:
    """Return the export: `place` itself, or the only one in that folder."""
    if place.is_file():
        return place
    found = sorted(place.glob(FILES)) or sorted(place.glob("*.json"))
    if len(found) > 1:
        raise DatasetInvalid(f"{place} has several exports ({found[0].name}, {found[1].name}, ...); name one of them")
    return found[0] if found else None


def read_label_studio(place: Path) -> Export:
    """Read labels of whole images (choices) and boxes (rectangles, and polygons around them). Raises DatasetInvalid."""
    file = find_label_studio_file(place)
    if file is None:
        raise DatasetInvalid(f"no export of Label Studio at {place}; expected a JSON file")
    tasks = objects(read_document(file, TOOL), str(file))
    images = [_image(task, f"{file}: task {number}") for number, task in enumerate(tasks, start=1)]
    # Images are on disk as Label Studio stored them, or as they were called before they were uploaded.
    return Export(place=file, images=images, other_name=lambda name: UPLOADED.sub("", name, count=1))


def _image(task: dict[str, Any], where: str) -> ExportedImage:
    data = task.get("data", task)  # JSON-MIN has the values beside each other
    if not isinstance(data, dict):
        raise wrong(f"{where}, 'data'", data, "an object with the image")
    name = file_name(text(_address(data), f"{where}, image", "the address of an image"))
    if "annotations" not in task:
        choice = task.get("choice")
        labels = (choice,) if isinstance(choice, str) else ()
        shapes = [shape for name in ("label", "bbox") for shape in objects(task.get(name), f"{where}, {name}")]
        things, size = _things([{"value": shape, **shape} for shape in shapes], where)
        return ExportedImage(name=name, where=where, labels=labels, size=size, objects=tuple(things))
    results = [
        result
        for annotation in objects(task["annotations"], f"{where}, annotations")
        if not annotation.get("was_cancelled")
        for result in objects(annotation.get("result"), f"{where}, result")
    ]
    things, size = _things(results, where)
    return ExportedImage(
        name=name, where=where, labels=tuple(_choices(results, where)), size=size, objects=tuple(things)
    )


def _address(data: dict[str, Any]) -> object:
    """Return the image's address: `image`, or the first value that looks like one."""
    first = next((value for value in data.values() if isinstance(value, str) and "/" in value), None)
    return data.get("image", first)


def file_name(address: str) -> str:
    """Return the path in an address, for an uploaded image its name.

    `/data/upload/1/0a1b2c3d-cat.jpg` is 0a1b2c3d-cat.jpg, `/data/local-files/?d=pets/cat.jpg` is pets/cat.jpg.
    """
    parts = urlsplit(address)
    if local := parse_qs(parts.query).get("d"):
        return local[0]
    path = unquote(parts.path)
    return path.rpartition("/")[2] if "/upload/" in path else path.lstrip("/")


def _choices(results: list[dict[str, Any]], where: str) -> Iterator[str]:
    for result in results:
        if result.get("type") == "choices":
            for choice in (result.get("value") or {}).get("choices") or ():
                yield text(choice, f"{where}, choices", "a list of classes")


def _things(results: list[dict[str, Any]], where: str) -> tuple[list[ExportedObject], Size | None]:
    """Return the boxes in pixels, and the size of the image that was annotated."""
    things, size = [], None
    for number, result in enumerate(results):
        value, its = result.get("value"), f"{where}, result {number + 1}"
        kind = next((kind for kind in SHAPES if isinstance(value, dict) and value.get(kind)), None)
        if kind is None or not isinstance(value, dict):
            continue
        width, height = numbers(
            [result.get("original_width"), result.get("original_height")], 2, f"{its}, original size"
        )
        size = int(width), int(height)
        label = text(value[kind][0], f"{its}, {kind}", "a list of classes")
        things.append(ExportedObject(label=label, corners=_corners(kind, value, size, its)))
    return things, size


def _corners(kind: str, value: dict[str, Any], size: Size, where: str) -> Corners:
    """Return the box in pixels; values are percentages. Rectangles are turned about their top left corner."""
    across, down = size[0] / 100, size[1] / 100
    if kind == "polygonlabels":
        points = value.get("points")
        if not isinstance(points, list) or not points:
            raise wrong(f"{where}, points", points, "a list of points")
        return bounding_box(
            [(x * across, y * down) for x, y in (numbers(point, 2, f"{where}, point") for point in points)]
        )
    left, top, width, height = numbers([value.get(side) for side in ("x", "y", "width", "height")], 4, where)
    corners = left * across, top * down, (left + width) * across, (top + height) * down
    (rotation,) = numbers([value.get("rotation") or 0], 1, f"{where}, rotation")
    return turned(corners, rotation, (left * across, top * down))
