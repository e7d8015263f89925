"""A folder of photos laid out as `split/class/file`."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from storage.datasets.base import UNKNOWN, UNLABELLED, DatasetInvalid, FileDataset, ImageRecord

PHOTOS = frozenset({".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
# Pillow does not read HEIC: listed so that a phone's photos show up as unreadable instead of not at all.
IMAGE_SUFFIXES = PHOTOS | {".heic", ".heif", ".pgm", ".ppm"}
SPLIT_ORDER = ("train", "val", "valid", "validation", "test")
EXPECTED = "expected SPLIT/CLASS/FILE, e.g. train/daisy/001.jpg"


def image_folder(root: Path, *, name: str | None = None) -> FileDataset:
    """The dataset in `root`: splits in the order train, val, test, others; then classes and files by name.

    Files are taken by their suffix and not opened here, so that a damaged photo is recorded later instead of stopping
    everything. Class folders may hold folders of their own; links are followed; names that start with "." or "__" are
    left out. The split `unlabelled` has images at any depth, and no classes. Raises DatasetInvalid where the layout is
    another one, or where an image would be left out by it.
    """
    if not root.is_dir():
        raise DatasetInvalid(f"no folder at {root}; {EXPECTED}")
    splits = sorted(_folders(root), key=_rank)
    _refuse_missing_split(root, splits)
    classes_of = {split: _folders(root / split) for split in splits if split != UNLABELLED}
    classes = sorted({label_name for found in classes_of.values() for label_name in found})
    if not classes:
        raise DatasetInvalid(f"no class folders in {root}; {EXPECTED}")
    _refuse_two_spellings(classes_of)

    records: list[ImageRecord] = []
    paths: dict[str, Path] = {}
    for split in splits:
        labelled = [(label, label_name, root / split / label_name) for label, label_name in enumerate(classes)]
        for label, label_name, folder in [(UNKNOWN, "", root / split)] if split == UNLABELLED else labelled:
            for path in sorted(_images_below(folder, within=())):
                image_id = _id_of(path, root)
                records.append(ImageRecord(image_id=image_id, split=split, label=label, label_name=label_name))
                paths[image_id] = path
    if not records:
        raise DatasetInvalid(f"no images in {root}; {EXPECTED}, with one of {' '.join(sorted(IMAGE_SUFFIXES))}")
    return FileDataset(name=name or root.resolve().name, class_names=tuple(classes), records=records, paths=paths)


def _rank(split: str) -> tuple[int, str]:
    return (SPLIT_ORDER.index(split) if split in SPLIT_ORDER else len(SPLIT_ORDER), split)


def _refuse_missing_split(root: Path, splits: list[str]) -> None:
    """The two layouts that come closest to the expected one, each with its way out."""
    for split in splits:
        loose = sorted(entry.name for entry in (root / split).iterdir() if _is_image(entry))
        if split == UNLABELLED:
            continue
        if loose and split in SPLIT_ORDER:
            raise DatasetInvalid(
                f"{root / split} holds images without a class ({loose[0]}); move each into a folder of its class"
            )
        if loose and root.resolve().name in SPLIT_ORDER:
            above = root.resolve().parent
            raise DatasetInvalid(f"{root} is a split, not a dataset; name the folder above it: {above}")
        if loose:
            raise DatasetInvalid(
                f"{root} holds classes without a split ({split}/{loose[0]}); move the class folders to {root / 'train'}"
            )


def _refuse_two_spellings(classes_of: dict[str, list[str]]) -> None:
    seen: dict[str, tuple[str, str]] = {}
    for split, found in classes_of.items():
        for label_name in found:
            meant = unicodedata.normalize("NFKC", label_name).casefold().replace("-", " ").replace("_", " ")
            first_split, first = seen.setdefault(meant, (split, label_name))
            if first != label_name:
                raise DatasetInvalid(
                    f"class folders {first_split}/{first} and {split}/{label_name} are one class in two spellings; "
                    "rename one"
                )


def _folders(parent: Path) -> list[str]:
    return [entry.name for entry in parent.iterdir() if _visible(entry.name) and entry.is_dir()]


def _visible(name: str) -> bool:
    return not name.startswith((".", "__"))


def _is_image(entry: Path) -> bool:
    return _visible(entry.name) and entry.suffix.lower() in IMAGE_SUFFIXES and not entry.is_dir()


def _images_below(folder: Path, within: tuple[str, ...]) -> Iterator[Path]:
    """Image files at any depth. `within` are the real folders that were passed on the way: a link back ends there."""
    real = os.path.realpath(folder)
    if real in within or not folder.is_dir():
        return
    for entry in folder.iterdir():
        if _is_image(entry):
            yield entry
        elif _visible(entry.name) and entry.is_dir():
            yield from _images_below(entry, (*within, real))


def _id_of(path: Path, root: Path) -> str:
    image_id = path.relative_to(root).as_posix()
    try:
        image_id.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DatasetInvalid(f"file name {image_id!r} in {root} is not UTF-8; rename the file") from error
    return image_id
