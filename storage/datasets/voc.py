"""Pascal VOC, as torchvision downloads it."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn
from xml.etree import ElementTree
from xml.parsers import expat

from storage.datasets.base import Corners, DatasetInvalid
from storage.datasets.builder import (
    NO_AREA,
    NO_SIZE,
    NOT_DESCRIBED,
    NOT_THERE,
    DetectionBuilder,
    box_frame,
    inside,
    upright_box,
)
from storage.datasets.detection import Box, DetectionDataset
from storage.datasets.image_size import Size, StoredSize, read_sizes
from storage.documents import DocumentInvalid, read_bytes, read_text
from storage.text import printable

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
# VOC's image set of each of our splits.
IMAGE_SETS = {
    "2007": {"train": "trainval", "test": "test"},
    "2012": {"train": "train", "val": "val"},
}
SIDES = ("xmin", "ymin", "xmax", "ymax")


def voc_dataset(year: str, *, name: str | None = None, root: Path, download: bool = False) -> DetectionDataset:
    """Read VOC 2007 (trainval is `train`, test is `test`) or 2012 (train, val).

    Objects marked as difficult are ignored ones. Listed images that are missing, or have no annotation, are left out
    and counted in the dataset's notes. Raises DatasetInvalid if files are missing and `download` is not set.
    """
    if download:
        _download(year, root)
    builder = DetectionBuilder(root, CLASSES)
    for split, image_set in IMAGE_SETS[year].items():
        _add_split(builder, root, root / "VOCdevkit" / f"VOC{year}", year, split, image_set)
    return builder.finish(name or f"VOC{year}")


def _download(year: str, root: Path) -> None:
    # Slow to import, and needed only for downloads.
    from torchvision.datasets import VOCDetection

    for image_set in IMAGE_SETS[year].values():
        try:
            VOCDetection(root, year=year, image_set=image_set, download=True)
        except (RuntimeError, OSError) as error:
            raise _not_opened(year, root, " ".join(str(error).split())) from error


def _add_split(builder: DetectionBuilder, root: Path, base: Path, year: str, split: str, image_set: str) -> None:
    listed = base / "ImageSets" / "Main" / f"{image_set}.txt"
    try:
        stems = [line.strip() for line in read_text(listed).splitlines() if line.strip()]
    except OSError as error:
        raise _not_opened(year, root, f"{listed}: {error.strerror}") from error
    except DocumentInvalid as error:
        raise DatasetInvalid(f"cannot read a list of images: {error}") from error
    images = {stem: inside(root, base / "JPEGImages", f"{stem}.jpg", f"{listed}: an image") for stem in stems}
    sizes = read_sizes(list(images.values()))
    for stem in stems:
        image, annotation = images[stem], base / "Annotations" / f"{stem}.xml"
        if image not in sizes:
            builder.remark(split, NOT_THERE, str(image))
        elif not annotation.is_file():
            builder.remark(split, NOT_DESCRIBED, str(annotation))
        else:
            size, boxes = _read(builder, split, annotation, sizes[image])
            builder.add(image.relative_to(root).as_posix(), split, image, size, boxes, str(listed))
    if not any(record.split == split for record in builder.records):
        raise DatasetInvalid(
            f"split '{split}' is empty: of {len(stems)} images in {listed}, none is in {base / 'JPEGImages'} with an "
            f"annotation in {base / 'Annotations'}; unpack the archive again"
        )


def _not_opened(year: str, root: Path, reason: str) -> DatasetInvalid:
    return DatasetInvalid(
        f"cannot open VOC {year} at {root} ({printable(reason)}); "
        "ask for it with --download, or set --root to the folder that holds VOCdevkit"
    )


def _read(builder: DetectionBuilder, split: str, annotation: Path, real: StoredSize | None) -> tuple[Size, list[Box]]:
    """Return width and height of an upright image, and its boxes."""
    try:
        tree = parse_xml(read_bytes(annotation), annotation)
        declared, turned = box_frame(str(annotation), declared_size(tree), real)
        boxes = []
        for number, thing in enumerate(tree.findall("object")):
            where = f"{annotation}, object {number + 1}"
            if (class_name := required_text(thing, "name")) not in CLASSES:
                raise DatasetInvalid(f"{where}: VOC has no class '{printable(class_name, 80)}'; correct it")
            label, corners = CLASSES.index(class_name), object_corners(thing)
            if declared == (0, 0):  # neither the annotation nor the image has the size
                builder.remark(split, NO_SIZE, where, label=label)
                continue
            box = upright_box(
                where,
                number=number,
                label=label,
                corners=corners,
                declared=declared,
                turned=turned,
                ignored=(thing.findtext("difficult") or "").strip() == "1",
            )
            if box is None:
                builder.remark(split, NO_AREA, where, label=label)
            else:
                boxes.append(box)
    except DocumentInvalid as error:
        raise DatasetInvalid(f"cannot read VOC annotation: {error}") from error
    except OSError as error:
        raise DatasetInvalid(f"cannot read VOC annotation {annotation} ({error})") from error
    except (ElementTree.ParseError, ValueError) as error:
        if isinstance(error, DatasetInvalid):
            raise
        raise DatasetInvalid(f"cannot read VOC annotation {annotation} ({printable(str(error), 200)})") from error
    return declared if turned is None else turned.upright, boxes


def declared_size(tree: ElementTree.Element) -> Size | None:
    """Return width and height in the annotation; None if missing, or 0 as written by some tools."""
    if tree.find("size") is None:
        return None
    width, height = (int(required_text(tree, f"size/{side}")) for side in ("width", "height"))
    return None if (width, height) == (0, 0) else (width, height)


def object_corners(thing: ElementTree.Element) -> Corners:
    left, top, right, bottom = (float(required_text(thing, f"bndbox/{side}")) for side in SIDES)
    # VOC counts pixels from 1, and both ends belong to the box.
    return left - 1, top - 1, right, bottom


def parse_xml(data: bytes, where: object) -> ElementTree.Element:
    """Return the root element. Raises DocumentInvalid, naming `where`, also for a document type: only there can
    entities be declared, which expand a small file to gigabytes or read another file."""

    def refuse(*_: object) -> NoReturn:
        raise DocumentInvalid(f"{where} declares a document type, which no annotation needs; remove it")

    builder = ElementTree.TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, LookupError) as error:  # LookupError: an encoding that Python does not know
        raise DocumentInvalid(f"{where} is no valid XML ({error})") from error
    return builder.close()


def required_text(node: ElementTree.Element, path: str) -> str:
    text = node.findtext(path)
    if text is None:
        raise ElementTree.ParseError(f"no {path}")
    return text.strip()
