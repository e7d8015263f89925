"""A folder of photos laid out as `split/class/file`."""

from __future__ import annotations

import os
from pathlib import Path

from storage.datasets.base import DatasetInvalid, FileDataset, ImageRecord

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})
EXPECTED = "expected SPLIT/CLASS/FILE, e.g. train/daisy/001.jpg"


def image_folder(root: Path, *, name: str | None = None) -> FileDataset:
    """The dataset in `root`: splits in the order train, val, test, others; then classes and files by name.

    Files are taken by their suffix and not opened here, so that a damaged photo is recorded later instead of stopping
    everything. Class folders may hold folders of their own. Raises DatasetInvalid where the layout is another one.
    """
    if not root.is_dir():
        raise DatasetInvalid(f"no folder at {root}; {EXPECTED}")
    splits = sorted((entry.name for entry in root.iterdir() if entry.is_dir() and _visible(entry.name)), key=_rank)
    classes = sorted({entry.name for split in splits for entry in (root / split).iterdir() if _is_class(entry)})
    if not classes:
        raise DatasetInvalid(f"no class folders in {root}; {EXPECTED}")
    records: list[ImageRecord] = []
    paths: dict[str, Path] = {}
    for split in splits:
        for label, label_name in enumerate(classes):
            for path in _images_below(root / split / label_name):
                image_id = path.relative_to(root).as_posix()
                records.append(ImageRecord(image_id=image_id, split=split, label=label, label_name=label_name))
                paths[image_id] = path
    if not records:
        raise DatasetInvalid(f"no images in {root}; {EXPECTED}, with one of {' '.join(sorted(IMAGE_SUFFIXES))}")
    return FileDataset(name=name or root.resolve().name, class_names=tuple(classes), records=records, paths=paths)


def _rank(split: str) -> tuple[int, str]:
    known = ("train", "val", "test")
    return (known.index(split) if split in known else len(known), split)


def _visible(name: str) -> bool:
    return not name.startswith((".", "__"))


def _is_class(entry: Path) -> bool:
    return entry.is_dir() and _visible(entry.name)


def _images_below(folder: Path) -> list[Path]:
    found = [
        Path(parent) / file
        for parent, _, files in os.walk(folder)
        for file in files
        if _visible(file) and Path(file).suffix.lower() in IMAGE_SUFFIXES
    ]
    return sorted(found)
