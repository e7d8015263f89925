"""VOC's XML files with classes of one's own, one beside each image or in Annotations/, as labelImg writes them."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from storage.datasets.base import DatasetInvalid
from storage.datasets.exports.export import Export, ExportedImage, ExportedObject
from storage.datasets.files import is_visible
from storage.datasets.voc import declared_size, object_corners, parse_xml, required_text
from storage.documents import DocumentInvalid, read_bytes
from storage.text import printable

FOLDERS = ("Annotations", "annotations")


def is_voc_folder(root: Path) -> bool:
    return any(next(root.glob(pattern), None) is not None for pattern in ("*.xml", "*/*.xml"))


def read_voc(root: Path) -> Export:
    """Read the annotation files at any depth. Objects marked as difficult are ignored ones. Raises DatasetInvalid.

    An image is found by its annotation's name: a.xml describes a.jpg, in the same folder or another one of the dataset.
    """
    files = sorted(path for path in root.rglob("*.xml") if all(map(is_visible, path.relative_to(root).parts)))
    images = [image for file in files if (image := _image(file, root)) is not None]
    if not images:
        raise DatasetInvalid(f"no VOC annotations in {root}; expected an XML file for each image")
    return Export(place=root, images=images)


def _image(file: Path, root: Path) -> ExportedImage | None:
    """Return the image of an annotation file; None for XML files of another kind."""
    try:
        tree = parse_xml(read_bytes(file), file)
        if tree.tag != "annotation":
            return None
        things = tuple(_object(thing) for thing in tree.findall("object"))
        size = declared_size(tree)
    except DocumentInvalid as error:
        raise DatasetInvalid(f"cannot read VOC annotation: {error}") from error
    except OSError as error:
        raise DatasetInvalid(f"cannot read VOC annotation {file} ({error})") from error
    except (ParseError, ValueError) as error:
        raise DatasetInvalid(f"cannot read VOC annotation {file} ({printable(str(error), 200)})") from error
    name = file.relative_to(root).with_suffix("").as_posix()
    for folder in FOLDERS:
        name = name.replace(f"{folder}/", "", 1) if name.startswith(f"{folder}/") else name.replace(f"/{folder}/", "/")
    return ExportedImage(name=name, where=str(file), size=size, objects=things)


def _object(thing: Element) -> ExportedObject:
    name = required_text(thing, "name")
    if not name:
        raise ParseError("an object has an empty name")
    difficult = (thing.findtext("difficult") or "").strip() == "1"
    return ExportedObject(label=name, corners=object_corners(thing), ignored=difficult)
