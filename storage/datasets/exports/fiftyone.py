"""FiftyOne's own formats: FiftyOneDataset, FiftyOneImageClassificationDataset and FiftyOneImageDetectionDataset."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from storage.datasets.base import Corners, DatasetInvalid
from storage.datasets.exports.export import Export, ExportedImage, ExportedObject
from storage.datasets.exports.values import numbers, objects, read_document, text, wrong
from storage.datasets.files import USUAL_SPLITS
from storage.datasets.image_size import Size

SAMPLES, LABELS, DATA = "samples.json", "labels.json", "data"
TOOL = "FiftyOne"


def is_fiftyone_folder(root: Path) -> bool:
    return (root / DATA).is_dir() and any((root / file).is_file() for file in (SAMPLES, LABELS))


def read_fiftyone(root: Path, label_field: str | None = None) -> Export:
    """Read `samples.json`, or `labels.json`. Tags of samples name their splits.

    `label_field` is the samples' field to read, by default the only one with labels. Raises DatasetInvalid.
    """
    if (root / SAMPLES).is_file():
        return _read_samples(root / SAMPLES, label_field)
    if (root / LABELS).is_file():
        return _read_labels(root / LABELS)
    raise DatasetInvalid(f"no dataset of FiftyOne in {root}; expected {SAMPLES} or {LABELS}, and the images in {DATA}/")


def _read_samples(file: Path, label_field: str | None) -> Export:
    document = read_document(file, TOOL)
    found = document.get("samples") if isinstance(document, dict) else None
    samples = objects(found if found is not None else "", f"{file}: 'samples'")
    name = label_field or _label_field(samples, file)
    images = []
    for place, sample in enumerate(samples):
        where = f"{file}: samples[{place}]"
        found = sample.get(name) or {}
        if not isinstance(found, dict):
            raise wrong(f"{where}.{name}", found, "a field of labels")
        images.append(
            ExportedImage(
                name=text(sample.get("filepath"), f"{where}.filepath", "the path of an image"),
                where=where,
                split=next((tag for tag in sample.get("tags") or () if tag in USUAL_SPLITS), None),
                labels=tuple(_labels(found, f"{where}.{name}")),
                size=_size(sample.get("metadata")),
                objects=tuple(_detections(found.get("detections"), f"{where}.{name}")),
            )
        )
    return Export(place=file, images=images)


def _label_field(samples: list[dict[str, Any]], file: Path) -> str:
    """Return the only field that holds labels."""
    kinds = ("Classification", "Classifications", "Detections", "Detection")
    fields = sorted(
        {
            name
            for sample in samples
            for name, value in sample.items()
            if isinstance(value, dict) and value.get("_cls") in kinds
        }
    )
    if len(fields) != 1:
        what = f"several fields of labels: {', '.join(fields)}" if fields else "no field of labels"
        raise DatasetInvalid(f"{file} has {what}; name one: ?label=FIELD")
    return fields[0]


def _labels(found: dict[str, Any], where: str) -> Iterator[str]:
    entries = [found] if "label" in found else objects(found.get("classifications"), f"{where}.classifications")
    for entry in entries:
        yield text(entry.get("label"), f"{where}.label", "a class name")


def _detections(found: Any, where: str) -> Iterator[ExportedObject]:
    for number, thing in enumerate(objects(found, f"{where}.detections")):
        its = f"{where}.detections[{number}]"
        label = text(thing.get("label"), f"{its}.label", "a class name")
        yield ExportedObject(label=label, corners=_corners(thing.get("bounding_box"), its), relative=True)


def _corners(box: Any, where: str) -> Corners:
    left, top, width, height = numbers(box, 4, f"{where}.bounding_box")
    return left, top, left + width, top + height


def _size(metadata: Any) -> Size | None:
    if not isinstance(metadata, dict):
        return None
    width, height = metadata.get("width"), metadata.get("height")
    return (width, height) if type(width) is int and type(height) is int and min(width, height) > 0 else None


def _read_labels(file: Path) -> Export:
    """Read a file of classes and of labels by image: a number or name, or a list of boxes."""
    document = read_document(file, TOOL)
    entries = document.get("labels") if isinstance(document, dict) else None
    if not isinstance(entries, dict):
        raise wrong(f"{file}: 'labels'", entries, "an object with the labels of each image")
    classes = document.get("classes")
    names = tuple(text(name, f"{file}: 'classes'", "a list of names") for name in classes or ())
    images = []
    for image, label in entries.items():
        where = f"{file}: labels['{image}']"
        if isinstance(label, list):
            things = tuple(_numbered_objects(label, names, where))
            images.append(ExportedImage(name=image, where=where, objects=things))
        else:
            labels = () if label is None else (_class(label, names, where),)
            images.append(ExportedImage(name=image, where=where, labels=labels))
    return Export(place=file, images=images, class_names=names)


def _numbered_objects(label: Any, names: tuple[str, ...], where: str) -> Iterator[ExportedObject]:
    for number, thing in enumerate(objects(label, where)):
        its = f"{where}[{number}]"
        class_name = _class(thing.get("label"), names, f"{its}.label")
        yield ExportedObject(label=class_name, corners=_corners(thing.get("bounding_box"), its), relative=True)


def _class(label: Any, names: tuple[str, ...], where: str) -> str:
    if type(label) is int and names:
        if not 0 <= label < len(names):
            raise wrong(where, label, f"the number of a class, 0 to {len(names) - 1}")
        return names[label]
    return text(label, where, "a class")
