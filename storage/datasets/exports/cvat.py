"""CVAT for images 1.1: one XML file with tags of whole images and shapes in them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from xml.etree.ElementTree import Element

from storage.datasets.base import DatasetInvalid
from storage.datasets.exports.export import Export, ExportedImage, ExportedObject
from storage.datasets.exports.values import LARGEST, bounding_box, numbers, text, turned, wrong
from storage.datasets.image_size import Size
from storage.datasets.voc import parse_xml
from storage.documents import DocumentInvalid, read_bytes

FILE = "annotations.xml"
USED = ("tag", "box", "polygon")


def is_cvat_folder(root: Path) -> bool:
    return (root / FILE).is_file()


def read_cvat(place: Path) -> Export:
    """Read the file, or `annotations.xml` in that folder: tags are labels of images, boxes and polygons are objects.

    `subset` is the split. Other shapes are counted in a note. Raises DatasetInvalid.
    """
    file = place / FILE if place.is_dir() else place
    try:
        root = parse_xml(read_bytes(file, limit=LARGEST), file)
    except (OSError, DocumentInvalid) as error:
        raise DatasetInvalid(f"cannot read an export of CVAT: {error}") from error
    images = root.findall("image")
    if root.tag != "annotations" or not images:
        raise DatasetInvalid(f"{file} has no images; export the task as 'CVAT for images 1.1'")
    classes = tuple(
        dict.fromkeys(name for node in root.iterfind("meta//label/name") if (name := (node.text or "").strip()))
    )
    others = Counter(shape.tag for image in images for shape in image if shape.tag not in USED)
    notes = (f"skipped shapes of CVAT: {', '.join(f'{count} {tag}' for tag, count in sorted(others.items()))}",)
    return Export(
        place=file, images=[_image(image, file) for image in images], class_names=classes, notes=notes if others else ()
    )


def _image(node: Element, file: Path) -> ExportedImage:
    name = text(node.get("name"), f"{file}: name of image {node.get('id')}", "the path of an image")
    where = f"{file}: image {name}"
    return ExportedImage(
        name=name,
        where=where,
        split=node.get("subset") or None,
        labels=tuple(_label(tag, where) for tag in node.findall("tag")),
        size=_size(node, where),
        objects=tuple(_object(shape, where) for shape in node if shape.tag in ("box", "polygon")),
    )


def _label(node: Element, where: str) -> str:
    return text(node.get("label"), f"{where}, label of a {node.tag}", "a class name")


def _size(node: Element, where: str) -> Size | None:
    if node.get("width") is None or node.get("height") is None:
        return None
    width, height = numbers([node.get("width"), node.get("height")], 2, f"{where}, width and height")
    return int(width), int(height)


def _object(node: Element, where: str) -> ExportedObject:
    its, label = f"{where}, {node.tag}", _label(node, where)
    if node.tag == "polygon":
        points = [point.split(",") for point in (node.get("points") or "").split(";")]
        if not all(points) or len(points) < 2:
            raise wrong(f"{its}, points", node.get("points"), "a list of points")
        pairs = [numbers(point, 2, f"{its}, point") for point in points]
        return ExportedObject(label=label, corners=bounding_box([(x, y) for x, y in pairs]))
    left, top, right, bottom = numbers([node.get(side) for side in ("xtl", "ytl", "xbr", "ybr")], 4, f"{its}, corners")
    (rotation,) = numbers([node.get("rotation", "0")], 1, f"{its}, rotation")
    centre = (left + right) / 2, (top + bottom) / 2
    return ExportedObject(label=label, corners=turned((left, top, right, bottom), rotation, centre))
