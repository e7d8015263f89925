"""Detection datasets in COCO's JSON, in the layouts of COCO itself and of tools that export it."""

from __future__ import annotations

import gc
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from storage.datasets.base import DatasetInvalid
from storage.datasets.builder import (
    NO_AREA,
    NO_SIZE,
    NOT_LISTED,
    NOT_THERE,
    TRAIN,
    DetectionBuilder,
    box_frame,
    inside,
    upright_box,
)
from storage.datasets.coco.file import CocoFile, CocoImage, CocoObject, read_coco_file
from storage.datasets.detection import Box, DetectionDataset
from storage.datasets.files import entries, has_image_name
from storage.datasets.image_size import StoredSize, read_sizes
from storage.text import printable

EXPECTED = "expected annotations/instances_SPLIT.json and the images in SPLIT/"
# In order of preference; only the first matching pattern is used.
LAYOUTS = ("annotations/instances_*.json", "annotations/*.json", "*/_annotations.coco.json", "*.json")
SPLITS = ("train", "val", "valid", "test")
# Names of files beside the images that some tools give to the only one: Label Studio, Roboflow.
WITHOUT_SPLIT = ("result.json", "_annotations.coco.json")


def is_coco_folder(root: Path) -> bool:
    return any(any(root.glob(layout)) for layout in LAYOUTS[:3]) or any(
        (root / file).is_file() for file in WITHOUT_SPLIT
    )


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Pause garbage collection, which takes a quarter of the time of creating millions of objects."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


@_no_garbage()
def coco_dataset(root: Path, *, name: str | None = None) -> DetectionDataset:
    """Read the images and boxes in `root`.

    `annotations/instances_train2017.json` describes the split `train`, whose images are in `train2017/`, and so on.
    Splits come in the order train, val, test, others. Labels number the categories by their COCO id. Boxes are clipped
    to their image and turned with an image that EXIF turns; boxes without an area and missing images are left out and
    counted in the dataset's notes. Crowds (iscrowd) are ignored ones. Raises DatasetInvalid, naming file and
    annotation.
    """
    files = next((there for layout in LAYOUTS if (there := sorted(root.glob(layout)))), [])
    if not files:
        raise DatasetInvalid(f"no COCO annotations in {root}; {EXPECTED}")
    by_split = {_split_of(file): file for file in files}
    if len(files) == 1 and files[0].parent == root and files[0].name in WITHOUT_SPLIT and root.name not in SPLITS:
        by_split = {TRAIN: files[0]}
    if len(by_split) < len(files):
        raise DatasetInvalid(f"{root} has several annotation files of one split; keep one of {_names(files)}")
    builder: DetectionBuilder | None = None
    categories: Mapping[int, str] = {}
    for split in sorted(by_split, key=_rank):
        document = read_coco_file(by_split[split])
        if builder is None:
            categories = document.categories
            builder = DetectionBuilder(root, [categories[number] for number in sorted(categories)])
        elif document.categories != categories:
            raise DatasetInvalid(
                f"{document.path} has other categories than the files of other splits; make them the same"
            )
        _add_split(builder, root, split, document)
    assert builder is not None
    return builder.finish(name or root.resolve().name)


def _add_split(builder: DetectionBuilder, root: Path, split: str, document: CocoFile) -> None:
    """Add the images of an annotation file."""
    folder = _image_folder(root, document)
    paths = {image.number: inside(root, folder, image.file_name, _named(document, image)) for image in document.images}
    sizes = read_sizes(list(paths.values()))
    labels = {number: label for label, number in enumerate(sorted(document.categories))}
    objects = _objects_of(document, labels)
    # By their names as the file has them: the order of datasets that are in use already.
    for image in sorted(document.images, key=lambda image: image.file_name):
        path, found = paths[image.number], objects.get(image.number, [])
        if path not in sizes:
            builder.remark(split, NOT_THERE, image.file_name)
            for thing in found:
                builder.lose(labels[thing.category], NOT_THERE)
            continue
        boxes, size = _boxes(builder, split, document, image, found, labels, sizes[path])
        builder.add(path.relative_to(root).as_posix(), split, path, size, boxes, str(document.path))
    if folder not in (root, root / "images"):  # which several splits may share
        listed = set(paths.values())
        for name, kind in entries(folder):
            if kind == "file" and has_image_name(name) and folder / name not in listed:
                builder.remark(split, NOT_LISTED, name)


def _objects_of(document: CocoFile, labels: Mapping[int, int]) -> dict[int | str, list[CocoObject]]:
    """Return the objects of each image. Raises DatasetInvalid for an unknown image or category."""
    known = {image.number for image in document.images}
    objects: dict[int | str, list[CocoObject]] = defaultdict(list)
    for thing in document.objects:
        for what, number, among in (("image", thing.image, known), ("category", thing.category, labels)):
            if number not in among:
                raise DatasetInvalid(
                    f"{document.path}, annotation {thing.number}: there is no {what} {printable(str(number), 80)}; "
                    "correct or remove it"
                )
        objects[thing.image].append(thing)
    return objects


def _boxes(
    builder: DetectionBuilder,
    split: str,
    document: CocoFile,
    image: CocoImage,
    objects: Sequence[CocoObject],
    labels: Mapping[int, int],
    real: StoredSize | None,
) -> tuple[list[Box], tuple[int, int]]:
    """Return the boxes of an image, and the size that they refer to."""
    declared, turned = box_frame(f"{document.path}: image {image.file_name}", image.size, real)
    boxes = []
    for thing in objects:
        if declared == (0, 0):  # neither the file nor the image has the size
            builder.remark(split, NO_SIZE, image.file_name, label=labels[thing.category])
            continue
        box = upright_box(
            f"{document.path}, annotation {thing.number}",
            number=thing.number,
            label=labels[thing.category],
            corners=thing.corners,
            declared=declared,
            turned=turned,
            ignored=thing.crowd,
        )
        if box is None:
            builder.remark(split, NO_AREA, f"annotation {thing.number}", label=labels[thing.category])
        else:
            boxes.append(box)
    return boxes, declared if turned is None else turned.upright


def _image_folder(root: Path, document: CocoFile) -> Path:
    """Return the folder with the images of an annotation file."""
    file, split = document.path, _split_of(document.path)
    stem = file.stem.removeprefix("instances_")
    folders = [root / stem, root / "images" / stem, root / split, root / "images" / split, root / "images", root]
    folders.append(file.parent)
    for images in (document.images[:10], document.images[10:]):
        for folder in folders:
            if any(inside(root, folder, image.file_name, _named(document, image)).is_file() for image in images):
                return folder
    first = printable(document.images[0].file_name, 200) if document.images else "no image"
    raise DatasetInvalid(f"the images of {file} are in none of {root / stem}, {root / 'images' / stem}: {first} is not")


def _named(document: CocoFile, image: CocoImage) -> str:
    return f"{document.path}: file_name of image {image.number}"


def _split_of(file: Path) -> str:
    """Return the split of an annotation file: instances_train2017.json and train/_annotations.coco.json are `train`."""
    stem = file.parent.name if file.name.startswith("_annotations") else file.stem.removeprefix("instances_")
    return re.sub(r"[-_]?\d{4}$", "", stem) or stem


def _rank(split: str) -> tuple[int, str]:
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS), split)


def _names(files: Sequence[Path]) -> str:
    return ", ".join(file.name for file in files)
