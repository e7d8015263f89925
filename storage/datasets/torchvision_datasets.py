"""The six fine-grained datasets of torchvision, each with fixed splits."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.datasets.base import DatasetInvalid, FileDataset, ImageRecord

CALTECH_SEED = 0
# One image: its file, its label.
Labelled = tuple[Path, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The folder of one of torchvision's datasets, and its splits for train, val and test."""

    folder: str  # below the data root; image ids are relative to it
    probe: str  # below `folder`: missing where the dataset is
    splits: dict[str, tuple[dict[str, Any], ...]]  # our split -> arguments of the torchvision datasets that make it up
    files: Callable[[Any], Sequence[Labelled]]
    how_to_get: str


def torchvision_dataset(name_there: str, *, name: str | None = None, root: Path, download: bool = False) -> FileDataset:
    """torchvision's dataset `name_there` (StanfordCars, OxfordIIITPet, DTD, Flowers102, FGVCAircraft, Caltech101).

    | dataset       | train                             | val         | test                   |
    |---------------|-----------------------------------|-------------|------------------------|
    | StanfordCars  | train (8,144)                     |             | test (8,041)           |
    | OxfordIIITPet | trainval (3,680)                  |             | test (3,669)           |
    | DTD           | train1 + val1 (3,760)             |             | test1 (1,880)          |
    | Flowers102    | train (1,020)                     | val (1,020) | test (6,149)           |
    | FGVCAircraft  | trainval, 100 variants (6,667)    |             | test (3,333)           |
    | Caltech101    | two thirds of each class, by hash |             | the rest of each class |

    All but Caltech101's are official. Caltech101 has no split of its own: the files of a class are ordered by the
    SHA-256 of "SEED/class/file", and the first two thirds (rounded) are train, on every machine alike.
    Order: split, class, file. Raises DatasetInvalid where files are missing and `download` is not set.
    """
    known = {key.casefold(): key for key in SOURCES}
    key = known.get(name_there.casefold())
    if key is None:
        raise DatasetInvalid(f"no dataset 'torchvision:{name_there}'; known are {', '.join(SOURCES)}")
    source = SOURCES[key]
    base = root / source.folder
    if not download and not (base / source.probe).exists():
        raise DatasetInvalid(f"no {key} at {base} ({source.probe} is missing); {source.how_to_get}")

    files: dict[str, list[Labelled]] = {}
    class_names: tuple[str, ...] = ()
    for split, parts in source.splits.items():
        for arguments in parts:
            opened = _construct(key, base, source, {"root": root, "download": download, **arguments})
            files.setdefault(split, []).extend(source.files(opened))
            names = tuple(opened.categories if key == "Caltech101" else opened.classes)
            if class_names and names != class_names:
                raise DatasetInvalid(f"{key} at {base} has other classes in '{split}'; {source.how_to_get}")
            class_names = names
    if key == "Caltech101":
        files = _split_by_hash(files["train"])

    records: list[ImageRecord] = []
    paths: dict[str, Path] = {}
    for split, labelled in files.items():
        for path, label in sorted(labelled, key=lambda pair: (pair[1], pair[0])):
            if not 0 <= label < len(class_names):
                raise DatasetInvalid(f"{key} at {base} has {path.name} with label {label}; {source.how_to_get}")
            image_id = path.relative_to(base).as_posix()
            records.append(ImageRecord(image_id=image_id, split=split, label=label, label_name=class_names[label]))
            paths[image_id] = path
    return FileDataset(name=name or key, class_names=class_names, records=records, places=paths)


def _construct(key: str, base: Path, source: Source, arguments: dict[str, Any]) -> Any:
    # Slow to import, and not needed for image folders.
    import torchvision.datasets

    try:
        return getattr(torchvision.datasets, key)(**arguments)
    # torchvision reports missing, damaged and undownloadable files, and a missing SciPy, with all of these.
    except (RuntimeError, ValueError, KeyError, OSError, ImportError) as error:
        reason = " ".join(str(error).split())
        raise DatasetInvalid(f"cannot open {key} at {base} ({reason}); {source.how_to_get}") from error


def _split_by_hash(labelled: Sequence[Labelled]) -> dict[str, list[Labelled]]:
    files: dict[str, list[Labelled]] = {"train": [], "test": []}
    for label in sorted({label for _, label in labelled}):
        ordered = sorted((path for path, its in labelled if its == label), key=_hash)
        cut = round(len(ordered) * 2 / 3)
        files["train"] += [(path, label) for path in ordered[:cut]]
        files["test"] += [(path, label) for path in ordered[cut:]]
    return files


def _hash(path: Path) -> bytes:
    return hashlib.sha256(f"{CALTECH_SEED}/{path.parent.name}/{path.name}".encode()).digest()


# torchvision offers decoded images only, so the paths come from its private lists, in this file only.


def _samples(opened: Any) -> list[Labelled]:
    return [(Path(path), int(label)) for path, label in opened._samples]


def _images(opened: Any) -> list[Labelled]:
    return list(zip(map(Path, opened._images), opened._labels, strict=True))


def _image_files(opened: Any) -> list[Labelled]:
    return list(zip(map(Path, opened._image_files), opened._labels, strict=True))


def _category_folders(opened: Any) -> list[Labelled]:
    # Caltech101 counts a folder's entries and takes them for image_0001.jpg and on; listing tolerates other files.
    folders = [Path(opened.root) / "101_ObjectCategories" / category for category in opened.categories]
    return [(path, label) for label, folder in enumerate(folders) for path in folder.glob("*.jpg")]


DOWNLOAD = "ask for it with --download, or set --root to the folder that holds it"
SOURCES = {
    "StanfordCars": Source(
        folder="stanford_cars",
        probe="devkit/cars_meta.mat",
        splits={"train": ({"split": "train"},), "test": ({"split": "test"},)},
        files=_samples,
        how_to_get=(
            "its website is offline; get a mirror and put cars_train/, cars_test/, devkit/ and "
            "cars_test_annos_withlabels.mat there"
        ),
    ),
    "OxfordIIITPet": Source(
        folder="oxford-iiit-pet",
        probe="annotations/trainval.txt",
        splits={"train": ({"split": "trainval"},), "test": ({"split": "test"},)},
        files=_images,
        how_to_get=DOWNLOAD,
    ),
    "DTD": Source(
        folder="dtd",
        probe="dtd/labels/train1.txt",
        splits={
            "train": ({"split": "train", "partition": 1}, {"split": "val", "partition": 1}),
            "test": ({"split": "test", "partition": 1},),
        },
        files=_image_files,
        how_to_get=DOWNLOAD,
    ),
    "Flowers102": Source(
        folder="flowers-102",
        probe="setid.mat",
        splits={"train": ({"split": "train"},), "val": ({"split": "val"},), "test": ({"split": "test"},)},
        files=_image_files,
        how_to_get=DOWNLOAD,
    ),
    "FGVCAircraft": Source(
        folder="fgvc-aircraft-2013b",
        probe="data/variants.txt",
        splits={
            "train": ({"split": "trainval", "annotation_level": "variant"},),
            "test": ({"split": "test", "annotation_level": "variant"},),
        },
        files=_image_files,
        how_to_get=DOWNLOAD,
    ),
    "Caltech101": Source(
        folder="caltech101",
        probe="101_ObjectCategories",
        splits={"train": ({},)},
        files=_category_folders,
        how_to_get=DOWNLOAD,
    ),
}
