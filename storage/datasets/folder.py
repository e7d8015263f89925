"""A folder of images laid out as `split/class/file`."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from storage.datasets.base import UNKNOWN, UNLABELLED, DatasetInvalid, FileDataset, ImageDataset, ImageRecord
from storage.datasets.files import (
    TABLE_SUFFIXES,
    USUAL_SPLITS,
    Skipped,
    counted,
    entries,
    has_image_name,
    images_below,
    is_usual_split,
    listing,
    missing_classes,
    split_rank,
    suffix_of,
)
from storage.datasets.records import gathered
from storage.datasets.trees import ImageTree, LocalTree
from storage.text import is_unicode, printable

EXPECTED = "expected SPLIT/CLASS/FILE, e.g. train/daisy/001.jpg"

UNLABELLED_CLASSES = ("_unlabeled", "_unlabelled", UNLABELLED)

# The image ids in each class folder of a split, joined by NUL: a third of the memory of a list.
Found = dict[str, str]


def image_folder(root: Path, *, name: str | None = None) -> FileDataset:
    """Read the dataset in `root`: splits in the order train, val, test, others; then classes and files by name.

    Files are recognised by suffix and not opened, so that a damaged image is recorded later instead of stopping
    everything. Class folders may have subfolders; links are followed; names that start with "." or "__" are ignored,
    and other skipped files are counted in the dataset's notes. The common splits are also recognised in capitals
    (`Train` is the split `train`). The split `unlabelled` has images at any depth, and no classes. Raises
    DatasetInvalid for another layout, for images outside it, and for a split or class folder without image files.
    """
    if not root.is_dir():
        raise DatasetInvalid(f"no folder at {root}; {EXPECTED}")
    dataset = folder_dataset(LocalTree(root), name=name)
    assert isinstance(dataset, FileDataset)
    return dataset


def folder_dataset(tree: ImageTree, *, name: str | None = None) -> ImageDataset:
    """Like `image_folder`, for a folder anywhere."""
    folders = _split_folders(tree)
    _refuse_missing_split(tree, folders)
    found, notes = _read_splits(tree, folders)
    classes = sorted(
        {label_name for split, labelled in found.items() if split != UNLABELLED for label_name in labelled}
    )
    if not classes:  # unlabelled images only
        raise DatasetInvalid(f"no class folders in {tree.place}; {EXPECTED}")
    _refuse_two_spellings({folders[split]: labelled for split, labelled in found.items() if split != UNLABELLED})

    records = gathered(_records(found, classes, tree.place))
    return tree.dataset(
        name=name or tree.name,
        class_names=tuple(classes),
        records=records,
        notes=(*notes, *missing_classes(records, classes)),
    )


def _records(found: dict[str, Found], classes: Sequence[str], place: str) -> Iterator[ImageRecord]:
    for split, labelled in found.items():
        for label_name in sorted(labelled):
            label = UNKNOWN if split == UNLABELLED else classes.index(label_name)
            for image_id in labelled[label_name].split("\0") if labelled[label_name] else ():
                _require_unicode(image_id, place)
                yield ImageRecord(image_id=image_id, split=split, label=label, label_name=label_name)


def class_folders(root: Path, *, name: str | None = None) -> FileDataset:
    """Read CLASS/FILE, without splits: all images are in `train`, those of `_unlabeled` (FiftyOne) in `unlabelled`.

    Otherwise like `image_folder`.
    """
    names = sorted(name for name, kind in entries(root) if kind == "folder")
    skipped = Skipped()
    found = {folder: "\0".join(images) for folder in names if (images := images_below(folder, root, skipped))}
    classes = [folder for folder in found if folder not in UNLABELLED_CLASSES]
    if not classes:
        raise DatasetInvalid(f"no class folders with images in {root}; expected CLASS/FILE, e.g. daisy/001.jpg")
    if len(classes) < 2:
        raise DatasetInvalid(f"{root} has one class folder ({classes[0]}); classes are learned from two or more")
    _refuse_two_spellings({str(root): classes})
    by_split = {"train": {folder: found[folder] for folder in classes}}
    if unlabelled := [found[folder] for folder in sorted(found) if folder not in classes]:
        by_split[UNLABELLED] = {"": "\0".join(unlabelled)}
    records = gathered(_records(by_split, classes, str(root)))
    return LocalTree(root).dataset(
        name=name or root.resolve().name, class_names=tuple(classes), records=records, notes=skipped.notes()
    )


def has_splits(root: Path) -> bool:
    return root.is_dir() and any(kind == "folder" and is_usual_split(name) for name, kind in entries(root))


def holds_classes(root: Path) -> bool:
    """Return whether a folder in `root` has folders, as splits have."""
    folders = [name for name, kind in entries(root) if kind == "folder"] if root.is_dir() else []
    return any(kind == "folder" for folder in folders for _, kind in entries(root / folder))


def _split_folders(tree: ImageTree) -> dict[str, str]:
    """Return the folder of each split, in the order of the splits. Raises DatasetInvalid for two folders of one
    split."""
    folders: dict[str, str] = {}
    for folder in sorted(name for name, kind in tree.names().items() if kind == "folder"):
        split = folder.casefold() if is_usual_split(folder) else folder
        if split in folders:
            raise DatasetInvalid(
                f"{tree.place} has the split '{split}' twice: {folders[split]} and {folder}; merge them"
            )
        folders[split] = folder
    return {split: folders[split] for split in sorted(folders, key=split_rank)}


def _refuse_missing_split(tree: ImageTree, folders: Mapping[str, str]) -> None:
    """Raise DatasetInvalid, with advice for the two most similar layouts."""
    for split, folder in folders.items():
        if split == UNLABELLED:
            continue
        loose = min(
            (name for name, kind in tree.names(folder).items() if kind == "file" and has_image_name(name)), default=""
        )
        if not loose:
            continue
        if split in USUAL_SPLITS:
            raise DatasetInvalid(
                f"{tree.at(folder)} holds images without a class ({loose}); move each into a folder of its class"
            )
        if tree.name.casefold() in USUAL_SPLITS:
            raise DatasetInvalid(f"{tree.place} is a split, not a dataset; name the folder above it: {tree.parent}")
        raise DatasetInvalid(
            f"{tree.place} holds classes without a split ({folder}/{loose}); move the class folders to "
            f"{tree.at('train')}, or {_other_way(tree)}"
        )


def _other_way(tree: ImageTree) -> str:
    table = next((name for name in tree.names() if suffix_of(name) in TABLE_SUFFIXES), None)
    if table is not None:
        return f"name the table of labels: {tree.at(table)}"
    return f"hold out a fifth for testing: '{tree.place}?test=0.2'"


def _read_splits(tree: ImageTree, folders: Mapping[str, str]) -> tuple[dict[str, Found], list[str]]:
    """Return the images of each split, and notes about other files. Raises DatasetInvalid if there are no images."""
    skipped, every = Skipped(), Skipped()
    without: list[str] = []
    found: dict[str, Found] = {}
    for split, folder in folders.items():
        aside = Skipped()
        labelled = _read_split(tree, split, folder, aside)
        every.add(aside)
        if any(labelled.values()) or is_usual_split(split):
            found[split] = labelled
            skipped.add(aside)
        else:
            without.append(folder)
    if not any(image_ids for labelled in found.values() for image_ids in labelled.values()):
        rest = "".join(f"; {note}" for note in every.notes())
        what = "images" if any(found.values()) or every else "class folders"
        raise DatasetInvalid(f"no {what} in {tree.place}; {EXPECTED}{rest}")
    for split, labelled in found.items():
        if not any(labelled.values()):
            raise DatasetInvalid(f"split '{split}' has no images in {tree.at(folders[split])}; add some, or remove it")
    notes = list(skipped.notes())
    if without:
        notes.append(f"skipped {counted(len(without), 'folder')} without images: {listing(without)}")
    if loose := sorted(name for name, kind in tree.names().items() if kind != "folder" and has_image_name(name)):
        notes.append(f"skipped {counted(len(loose), 'image')} in no split: {listing(loose)}")
    return found, notes


def _read_split(tree: ImageTree, split: str, folder: str, skipped: Skipped) -> Found:
    """Return the images of each class folder, "" for a split without classes; other files are added to `skipped`.

    Raises DatasetInvalid for a class folder of a common split without image files.
    """
    if split == UNLABELLED:
        return {"": "\0".join(tree.images_below(folder, skipped))}
    labelled: Found = {}
    for name, kind in tree.names(folder).items():
        if kind != "folder":
            skipped.suffixes[Path(name).suffix.lower()] += 1
            continue
        aside = Skipped()
        labelled[name] = "\0".join(tree.images_below(f"{folder}/{name}", aside))
        if aside and not labelled[name] and split in USUAL_SPLITS:
            raise DatasetInvalid(
                f"class folder {tree.at(f'{folder}/{name}')} has no images: {'; '.join(aside.notes())}; convert the "
                "files to JPEG or PNG, or remove the folder"
            )
        skipped.add(aside)
    return labelled


def _refuse_two_spellings(classes_of: Mapping[str, Iterable[str]]) -> None:
    seen: dict[str, tuple[str, str]] = {}
    for folder, found in classes_of.items():
        for label_name in found:
            meant = unicodedata.normalize("NFKC", label_name).casefold().replace("-", " ").replace("_", " ")
            first_folder, first = seen.setdefault(meant, (folder, label_name))
            if first != label_name:
                raise DatasetInvalid(
                    f"class folders {first_folder}/{first} and {folder}/{label_name} are one class in two spellings; "
                    "rename one"
                )


def _require_unicode(image_id: str, place: str) -> None:
    if not is_unicode(image_id):
        raise DatasetInvalid(f"file name {printable(image_id)!r} in {place} is not UTF-8; rename the file")
