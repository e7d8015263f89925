"""What a tool exported, before the images are found and checked: each format has a small reader that returns this."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from storage.datasets.base import UNKNOWN, UNLABELLED, Corners, DatasetInvalid, FileDataset, ImageRecord
from storage.datasets.builder import NO_AREA, NO_SIZE, NOT_LISTED, NOT_THERE, DetectionBuilder, box_frame, upright_box
from storage.datasets.detection import Box, DetectionDataset
from storage.datasets.files import counted, is_usual_split, listing, missing_classes, split_rank
from storage.datasets.image_size import Size, StoredSize, read_sizes
from storage.datasets.trees import ImageTree, LocalTree
from storage.matching import match_images
from storage.text import printable

TRAIN = "train"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedObject:
    """A box: `corners` in pixels, or relative to the image's sides (0..1)."""

    label: str
    corners: Corners
    relative: bool = False
    ignored: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedImage:
    """An annotated image. `name` is its path or file name as exported, `where` the place in the file for messages.

    `labels` are the classes of the whole image, as many as annotators gave. `size` is width and height of the annotated
    image, None if it is not exported.
    """

    name: str
    where: str
    split: str | None = None
    labels: tuple[str, ...] = ()
    size: Size | None = None
    objects: tuple[ExportedObject, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Export:
    """`place` names the export in messages; `class_names` are the classes in the tool's order, empty if not listed."""

    place: Path
    images: Sequence[ExportedImage]
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    other_name: Callable[[str], str] | None = None  # the names to look for where no image has the exported ones


@dataclass
class _Located:
    """The images that exist, by id, with their splits."""

    images: dict[str, ExportedImage] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)
    missing: list[ExportedImage] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)


def _locate(export: Export, tree: ImageTree) -> _Located:
    """Find the images in the tree. Raises DatasetInvalid if there are none, and for one that is described twice."""
    named: dict[str, ExportedImage] = {}
    for image in export.images:
        if (first := named.setdefault(image.name, image)) is not image:
            raise DatasetInvalid(
                f"{image.where}: {printable(image.name, 200)} is described by {first.where} too; keep one"
            )
    files = tree.images()
    found = match_images(named, files, export.place)
    if not found and export.other_name is not None:
        named = {export.other_name(name): image for name, image in named.items()}
        found = match_images(named, files, export.place)
    located = _Located()
    located.images = {image_id: named[found[image_id]] for image_id in files if image_id in found}
    there = set(found.values())
    located.missing = [image for name, image in named.items() if name not in there]
    located.unlisted = [image_id for image_id in files if image_id not in found]
    if not located.images:
        example = printable(export.images[0].name, 200) if export.images else "none"
        raise DatasetInvalid(
            f"{export.place} describes {counted(len(named), 'image')}, e.g. {example}, but none is in {tree.place}"
        )
    folders = {image_id: image_id.partition("/")[0].casefold() for image_id in located.images}
    by_folder = all(map(is_usual_split, folders.values()))
    for image_id, image in located.images.items():
        split = image.split or (folders[image_id] if by_folder else TRAIN)
        located.splits[image_id] = split.casefold() if is_usual_split(split) else split
    return located


def classification_dataset(export: Export, tree: LocalTree, name: str) -> FileDataset:
    """Return the images with the labels of the whole image. Raises DatasetInvalid if none has one.

    Of several labels the most frequent counts; images without one, and those whose labels are equally frequent, are in
    split `unlabelled`.
    """
    located = _locate(export, tree)
    labels = {image_id: _agreed(image.labels) for image_id, image in located.images.items()}
    used = sorted({label for label in labels.values() if label})
    if not used:
        raise DatasetInvalid(
            f"no image of {export.place} has a label for the whole image; for boxes, use --task detection"
        )
    class_names = export.class_names if set(used) <= set(export.class_names) else tuple(used)
    numbers = {label: number for number, label in enumerate(class_names)}
    records = [
        ImageRecord(
            image_id=image_id,
            split=located.splits[image_id] if label else UNLABELLED,
            label=numbers.get(label, UNKNOWN),
            label_name=label,
        )
        for image_id, label in labels.items()
    ]
    records.sort(key=lambda record: split_rank(record.split))
    notes = [*export.notes, *_missing_notes(located)]
    if unclear := [image_id for image_id, label in labels.items() if not label and located.images[image_id].labels]:
        notes.append(
            f"annotators disagree about {counted(len(unclear), 'image')}, in '{UNLABELLED}': {listing(unclear)}"
        )
    notes += missing_classes(records, class_names)
    return tree.dataset(name=name, class_names=class_names, records=records, notes=tuple(notes))


def _agreed(labels: Sequence[str]) -> str:
    """Return the most frequent label; empty if there is none or several are."""
    ordered = Counter(labels).most_common(2)
    if not ordered or (len(ordered) == 2 and ordered[0][1] == ordered[1][1]):
        return ""
    return ordered[0][0]


def _missing_notes(located: _Located) -> list[str]:
    notes = []
    if located.missing:
        names = listing(image.name for image in located.missing)
        notes.append(f"{counted(len(located.missing), 'described image')} not there and left out: {names}")
    if located.unlisted:
        notes.append(
            f"{counted(len(located.unlisted), 'image')} without a description left out: {listing(located.unlisted)}"
        )
    return notes


def detection_dataset(export: Export, tree: LocalTree, name: str) -> DetectionDataset:
    """Return the images with their boxes. Raises DatasetInvalid if there are none, and for wrong ones."""
    located = _locate(export, tree)
    used = sorted({thing.label for image in export.images for thing in image.objects})
    if not used:
        raise DatasetInvalid(
            f"no image of {export.place} has a box; for labels of whole images, use --task classification"
        )
    class_names = export.class_names if set(used) <= set(export.class_names) else tuple(used)
    builder = DetectionBuilder(export.place, class_names)
    sizes = read_sizes([tree.root / image_id for image_id in located.images])
    for image_id in sorted(located.images, key=lambda image_id: split_rank(located.splits[image_id])):
        image, path, split = located.images[image_id], tree.root / image_id, located.splits[image_id]
        size, boxes = _boxes(builder, image, split, sizes[path])
        builder.add(image_id, split, path, size, boxes, image.where)
    for image in located.missing:
        builder.remark(image.split or TRAIN, NOT_THERE, image.name)
        for thing in image.objects:
            builder.lose(class_names.index(thing.label), NOT_THERE)
    for image_id in located.unlisted:
        builder.remark(TRAIN, NOT_LISTED, image_id)
    return builder.finish(name)


def _boxes(
    builder: DetectionBuilder, image: ExportedImage, split: str, real: StoredSize | None
) -> tuple[Size, list[Box]]:
    """Return the size of the upright image, and its boxes."""
    declared, turned = box_frame(image.where, image.size, real)
    boxes = []
    for number, thing in enumerate(image.objects):
        where, label = f"{image.where}, object {number + 1}", builder.class_names.index(thing.label)
        if declared == (0, 0):
            builder.remark(split, NO_SIZE, where, label=label)
            continue
        width, height = declared if thing.relative else (1, 1)
        left, top, right, bottom = thing.corners
        box = upright_box(
            where,
            number=number,
            label=label,
            corners=(left * width, top * height, right * width, bottom * height),
            declared=declared,
            turned=turned,
            ignored=thing.ignored,
        )
        if box is None:
            builder.remark(split, NO_AREA, where, label=label)
        else:
            boxes.append(box)
    return declared if turned is None else turned.upright, boxes
