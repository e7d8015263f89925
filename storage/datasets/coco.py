"""Detection datasets in COCO's JSON, in the layouts of COCO itself and of tools that export it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from storage.datasets.base import DatasetInvalid, ImageRecord
from storage.datasets.detection import Box, DetectionDataset, checked_box, image_record

EXPECTED = "expected annotations/instances_SPLIT.json and the images in SPLIT/"
# In the order in which they are looked for; only the first pattern that fits counts.
LAYOUTS = ("annotations/instances_*.json", "annotations/*.json", "*/_annotations.coco.json", "*.json")
SPLITS = ("train", "val", "valid", "test")


def is_coco_folder(root: Path) -> bool:
    return any(any(root.glob(layout)) for layout in LAYOUTS[:3])


def coco_dataset(root: Path, *, name: str | None = None) -> DetectionDataset:
    """The images and boxes in `root`: `annotations/instances_train2017.json` describes the split `train`, whose images
    lie in `train2017/`, and so on. Splits come in the order train, val, test, others.

    Labels number the categories by their COCO id. Boxes are cut off at their image's borders, those without an area
    left out; crowds (iscrowd) are ignored ones. Raises DatasetInvalid, naming file and annotation.
    """
    files = next((there for layout in LAYOUTS if (there := sorted(root.glob(layout)))), [])
    if not files:
        raise DatasetInvalid(f"no COCO annotations in {root}; {EXPECTED}")
    by_split = {_split_of(file): file for file in files}
    if len(by_split) < len(files):
        raise DatasetInvalid(f"{root} has several annotation files of one split; keep one of {_names(files)}")
    records: list[ImageRecord] = []
    paths: dict[str, Path] = {}
    boxes: dict[str, Sequence[Box]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    categories: dict[int, str] = {}
    for split in sorted(by_split, key=_rank):
        file = by_split[split]
        document = _read(file)
        named = {int(entry["id"]): str(entry["name"]) for entry in document["categories"]}
        if categories and named != categories:
            raise DatasetInvalid(f"{file} has other categories than the files of other splits; make them the same")
        categories = named
        folder = _image_folder(root, file, document["images"])
        found = _boxes(file, document, sorted(categories))
        for image in sorted(document["images"], key=lambda entry: str(entry["file_name"])):
            path = folder / image["file_name"]
            image_id = path.relative_to(root).as_posix()
            records.append(image_record(image_id, split))
            paths[image_id], boxes[image_id] = path, tuple(found[image["id"]])
            sizes[image_id] = int(image["width"]), int(image["height"])
    class_names = tuple(categories[number] for number in sorted(categories))
    name = name or root.resolve().name
    return DetectionDataset(name=name, class_names=class_names, records=records, paths=paths, boxes=boxes, sizes=sizes)


def _boxes(file: Path, document: Mapping[str, Any], categories: Sequence[int]) -> dict[Any, list[Box]]:
    """The boxes of every image, by the image's number."""
    images = {entry["id"]: entry for entry in document["images"]}
    labels = {number: label for label, number in enumerate(categories)}
    boxes: dict[Any, list[Box]] = {number: [] for number in images}
    for entry in document["annotations"]:
        where = f"{file}, annotation {entry['id']}"
        if entry["image_id"] not in images:
            raise DatasetInvalid(f"{where}: there is no image {entry['image_id']}; correct or remove it")
        if entry["category_id"] not in labels:
            raise DatasetInvalid(f"{where}: there is no category {entry['category_id']}; correct or remove it")
        image = images[entry["image_id"]]
        left, top, width, height = map(float, entry["bbox"])
        box = checked_box(
            where,
            number=int(entry["id"]),
            label=labels[entry["category_id"]],
            corners=(left, top, left + width, top + height),
            size=(image["width"], image["height"]),
            ignored=bool(entry.get("iscrowd", 0)),
        )
        if box is not None:
            boxes[entry["image_id"]].append(box)
    return boxes


def _read(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetInvalid(f"cannot read COCO annotations {file} ({error})") from error
    needed = {
        "images": ("id", "file_name", "width", "height"),
        "annotations": ("id", "image_id", "category_id", "bbox"),
        "categories": ("id", "name"),
    }
    for part, fields in needed.items():
        entries = document.get(part) if isinstance(document, dict) else None
        if not isinstance(entries, list):
            raise DatasetInvalid(f"{file} has no list '{part}'; it is no COCO file of objects")
        for place, entry in enumerate(entries):
            if missing := [name for name in fields if name not in entry]:
                raise DatasetInvalid(f"{file}: entry {place} of '{part}' has no '{missing[0]}'; add it")
    return dict(document)


def _image_folder(root: Path, file: Path, images: Sequence[Mapping[str, Any]]) -> Path:
    """Where the images of an annotation file lie."""
    stem = file.stem.removeprefix("instances_")
    split = _split_of(file)
    folders = [root / stem, root / "images" / stem, root / split, root / "images" / split, root / "images", root]
    folders.append(file.parent)
    for folder in folders:
        if any((folder / image["file_name"]).is_file() for image in images[:10]):
            return folder
    first = images[0]["file_name"] if images else "no image"
    raise DatasetInvalid(f"the images of {file} are in none of {root / stem}, {root / 'images' / stem}: {first} is not")


def _split_of(file: Path) -> str:
    """instances_train2017.json and train/_annotations.coco.json are of the split train."""
    stem = file.parent.name if file.name.startswith("_annotations") else file.stem.removeprefix("instances_")
    return re.sub(r"[-_]?\d{4}$", "", stem) or stem


def _rank(split: str) -> tuple[int, str]:
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS), split)


def _names(files: Sequence[Path]) -> str:
    return ", ".join(file.name for file in files)
