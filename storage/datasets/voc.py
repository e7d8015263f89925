"""Pascal VOC, as torchvision downloads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from storage.datasets.base import DatasetInvalid, ImageRecord
from storage.datasets.detection import Box, DetectionDataset, checked_box, image_record

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
# torchvision's image set of each of our splits.
IMAGE_SETS = {
    "2007": {"train": "trainval", "test": "test"},
    "2012": {"train": "train", "val": "val"},
}


def voc_dataset(year: str, *, name: str | None = None, root: Path, download: bool = False) -> DetectionDataset:
    """VOC 2007 (trainval is `train`, test is `test`) or 2012 (train, val).

    Objects that are marked as difficult are ignored ones. Raises DatasetInvalid where files are missing and `download`
    is not set.
    """
    # Slow to import, and a user of folders needs none of it.
    from torchvision.datasets import VOCDetection

    records: list[ImageRecord] = []
    paths: dict[str, Path] = {}
    boxes: dict[str, tuple[Box, ...]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    for split, image_set in IMAGE_SETS[year].items():
        try:
            opened: Any = VOCDetection(root, year=year, image_set=image_set, download=download)
        except (RuntimeError, OSError) as error:
            reason = " ".join(str(error).split())
            raise DatasetInvalid(
                f"cannot open VOC {year} at {root} ({reason}); "
                "ask for it with --download, or set --root to the folder that holds VOCdevkit"
            ) from error
        for image, annotation in zip(map(Path, opened.images), map(Path, opened.annotations), strict=True):
            image_id = image.relative_to(root).as_posix()
            records.append(image_record(image_id, split))
            paths[image_id] = image
            sizes[image_id], boxes[image_id] = _read(annotation)
    name = name or f"VOC{year}"
    return DetectionDataset(name=name, class_names=CLASSES, records=records, paths=paths, boxes=boxes, sizes=sizes)


def _read(annotation: Path) -> tuple[tuple[int, int], tuple[Box, ...]]:
    """Width and height of an image, and its boxes."""
    found = []
    try:
        tree = ElementTree.parse(annotation)
        size = (int(_text(tree, "size/width")), int(_text(tree, "size/height")))
        for number, thing in enumerate(tree.findall("object")):
            where = f"{annotation}, object {number + 1}"
            if (class_name := _text(thing, "name")) not in CLASSES:
                raise DatasetInvalid(f"{where}: VOC has no class '{class_name}'; correct it")
            left, top, right, bottom = (float(_text(thing, f"bndbox/{side}")) for side in SIDES)
            box = checked_box(
                where,
                number=number,
                label=CLASSES.index(class_name),
                # VOC counts pixels from 1, and both ends belong to the box.
                corners=(left - 1, top - 1, right, bottom),
                size=size,
                ignored=thing.findtext("difficult") == "1",
            )
            if box is not None:
                found.append(box)
    except (OSError, ElementTree.ParseError) as error:
        raise DatasetInvalid(f"cannot read VOC annotation {annotation} ({error})") from error
    return size, tuple(found)


SIDES = ("xmin", "ymin", "xmax", "ymax")


def _text(node: Any, path: str) -> str:
    text = node.findtext(path)
    if text is None:
        raise ElementTree.ParseError(f"no {path}")
    return str(text).strip()
