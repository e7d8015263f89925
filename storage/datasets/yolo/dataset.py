"""Detection datasets in YOLO's layout: a YAML file names splits and classes, text files hold the boxes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from storage.datasets.base import DatasetInvalid
from storage.datasets.builder import (
    NO_AREA,
    NO_FOLDER,
    NO_IMAGE,
    NO_LABELS,
    NO_SIZE,
    NOT_THERE,
    DetectionBuilder,
    inside,
)
from storage.datasets.detection import Box, DetectionDataset, checked_box
from storage.datasets.files import IMAGE_SUFFIXES, is_visible
from storage.datasets.image_size import Size, read_sizes
from storage.datasets.yolo.labels import LabelLine, LabelReader, keypoint_values
from storage.documents import DocumentInvalid, read_text, read_yaml
from storage.text import as_yaml, is_unicode, printable

CLASS_LIST = "classes.txt"
FILES = ("data.yaml", "dataset.yaml", "config.yaml")
EXPECTED = "expected data.yaml with train, val and names, images in images/, boxes in labels/"
UNKNOWN_SIZE = (0, 0)
SPLITS = ("train", "val", "test")
LONGEST_LIST = 1 << 28  # bytes of a text file that lists images
LEFT_BY_TOOLS = frozenset({"classes.txt", "notes.txt"})  # beside label files


def is_yolo_folder(root: Path) -> bool:
    return any((root / file).is_file() for file in FILES) or _is_without_yaml(root)


def _is_without_yaml(root: Path) -> bool:
    """Return whether a list of classes takes the place of the YAML file, as in exports of Label Studio."""
    return (root / CLASS_LIST).is_file() and (root / "images").is_dir() and (root / "labels").is_dir()


def yolo_dataset(place: Path, *, name: str | None = None) -> DetectionDataset:
    """Read the dataset described by a YAML file, or by one of FILES in a folder.

    `train`, `val` and `test` name folders of images, or text files that list them, in the file's own folder or in
    `path` within it. The boxes of images/x/1.jpg are in labels/x/1.txt, one line each: class, centre, size relative to
    the upright image. For outlines and for boxes with keypoints, the box is used. An image without such a file shows
    background only, but a split without any boxes is rejected. Raises DatasetInvalid, naming file and line.
    """
    file = place if place.is_file() else next((place / one for one in FILES if (place / one).is_file()), None)
    if file is None and _is_without_yaml(place):
        file = place / CLASS_LIST
        document = _listed_classes(file)
        class_names = _class_names(document["names"], document["names"], file)
    elif file is None:
        raise DatasetInvalid(f"no YOLO dataset at {place}; {EXPECTED}")
    else:
        document = _read(file)
        class_names = _class_names(document["names"], read_yaml(file, as_text=True)["names"], file)
    if type(count := document.get("nc")) is int and count != len(class_names):
        raise DatasetInvalid(f"{file}: 'nc' says {count} classes, but 'names' has {len(class_names)}; correct one")
    root = _root(document, file)
    builder = DetectionBuilder(root, class_names)
    reader = LabelReader(class_names, keypoint_values(document, file))
    shares: dict[Path, Path] = {}  # the image of each label file
    for split in (split for split in SPLITS if document.get(split)):
        if split != SPLITS[0] and builder.records and not _is_there(root, document[split]):
            # Roboflow names a test split whether there is one or not.
            builder.remark(split, NO_FOLDER, str(document[split]))
            continue
        _add_split(builder, reader, root, split, _image_files(root, document[split], f"{file}: '{split}'"), shares)
    if not builder.records:
        raise DatasetInvalid(f"{file} names no images; {EXPECTED}")
    if document.get("task") not in ("segment", "obb"):
        reader.refuse_hidden_keypoints(file)
    _remark_stray_labels(builder, shares)
    return builder.finish(name or root.resolve().name)


def _read(file: Path) -> dict[str, Any]:
    try:
        document = read_yaml(file)
    except (OSError, DocumentInvalid) as error:
        raise DatasetInvalid(f"cannot read YOLO dataset: {error}") from error
    if not isinstance(document, dict) or "names" not in document:
        raise DatasetInvalid(f"{file} has no 'names'; {EXPECTED}")
    return document


def _listed_classes(file: Path) -> dict[str, Any]:
    """Return what the YAML file would say: classes by line, and the folders of images/ that are called like a split, or
    else all of its images as `train`."""
    try:
        names = [line.strip() for line in read_text(file).splitlines() if line.strip()]
    except (OSError, DocumentInvalid) as error:
        raise DatasetInvalid(f"cannot read YOLO dataset: {error}") from error
    splits = {split: f"images/{split}" for split in SPLITS if (file.parent / "images" / split).is_dir()}
    return {"names": names, **(splits or {"train": "images"})}


def _is_there(root: Path, place: Any) -> bool:
    """Return whether a split's folder or list exists; True for what `_image_files` rejects."""
    plain = isinstance(place, str) and "\0" not in place and ".." not in Path(place.removeprefix("../")).parts
    return not plain or Path(place).is_absolute() or (root / place.removeprefix("../")).exists()


def _class_names(names: Any, written: Any, file: Path) -> tuple[str, ...]:
    """Return the class names; `written` is the same document as text: a class 007 is not called 7."""
    if isinstance(names, dict):
        if any(type(number) is not int for number in names) or sorted(names) != list(range(len(names))):
            raise DatasetInvalid(f"{file}: the classes in 'names' are not numbered 0, 1, 2, ...; number them so")
        written = [text for _, text in sorted(zip(names, written.values(), strict=True))]
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise DatasetInvalid(f"{file}: 'names' is no list of classes; {EXPECTED}")
    for number, name in enumerate(names):
        # YAML reads unquoted no, yes, on and off as booleans.
        if type(name) not in (str, int, float) or not str(name).strip() or not is_unicode(str(name)):
            raise DatasetInvalid(
                f"{file}: class {number} in 'names' is {printable(as_yaml(name), 80)}, not a text; put it in quotes"
            )
    found = tuple(name if isinstance(name, str) else text for name, text in zip(names, written, strict=True))
    twice = next((name for number, name in enumerate(found) if name in found[:number]), None)
    if twice is not None:
        raise DatasetInvalid(f"{file}: two classes in 'names' are called {printable(twice, 80)!r}; rename one")
    return found


def _root(document: dict[str, Any], file: Path) -> Path:
    """Return `path` if it is the file's own folder or one within it; that folder if there is none within.

    Raises DatasetInvalid for any other path: nothing outside the dataset's folder is read.
    """
    own, said = file.parent, document.get("path")
    if said is None or said == "":
        return own
    if not isinstance(said, str) or "\0" in said:
        raise DatasetInvalid(f"{file}: 'path' is {printable(as_yaml(said), 80)}; it must name a folder, or be left out")
    root, folder = (Path(os.path.abspath(one)) for one in (own / Path(said).expanduser(), own))
    if os.path.realpath(root) == os.path.realpath(own):
        return own
    if not root.is_relative_to(folder):
        raise DatasetInvalid(
            f"{file}: 'path' is {printable(as_yaml(said), 200)}, which is not in {own}; put the file into the "
            "folder of the dataset and remove 'path' from it (or set it to .)"
        )
    return own / root.relative_to(folder) if root.is_dir() else own


def _image_files(root: Path, places: Any, where: str) -> list[Path]:
    """Return the images of a split, sorted. Raises DatasetInvalid, beginning with `where`."""
    found: list[Path] = []
    for named in places if isinstance(places, list) else [places]:
        if not isinstance(named, str):
            raise DatasetInvalid(f"{where} is {printable(repr(named), 80)}; it must name a folder or a text file")
        # Many exports write ../train/images instead of train/images.
        place = inside(root, root, named.removeprefix("../"), where)
        if place.is_dir():
            found += [path for path in place.rglob("*") if _is_image(path)]
        elif place.exists():
            found += _listed(root, place)
        else:
            raise DatasetInvalid(f"{where} names {printable(named, 200)}, but there is no {place}; correct it")
    return sorted(set(found))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and is_visible(path.name) and path.is_file()


def _listed(root: Path, file: Path) -> list[Path]:
    try:
        lines = read_text(file, limit=LONGEST_LIST).split("\n")
    except (OSError, DocumentInvalid) as error:
        raise DatasetInvalid(f"cannot read a list of images: {error}") from error
    named = [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    return [inside(root, root, line, f"{file}, line {number}") for number, line in named]


def _add_split(
    builder: DetectionBuilder,
    reader: LabelReader,
    root: Path,
    split: str,
    images: Sequence[Path],
    shares: dict[Path, Path],
) -> None:
    """Add the images of a split. Raises DatasetInvalid if none of them has a box."""
    sizes = read_sizes(images)
    labelled = described = 0
    for path in images:
        if path not in sizes:
            builder.remark(split, NOT_THERE, path.relative_to(root).as_posix())
            continue
        label_file = _label_file(root, path)
        lines = reader.read(label_file)
        if lines is None:
            builder.remark(split, NO_LABELS, path.relative_to(root).as_posix())
        elif (other := shares.setdefault(label_file, path)) != path:
            raise DatasetInvalid(f"{other} and {path} share the boxes in {label_file}; rename or remove one of them")
        real = sizes[path]
        size = UNKNOWN_SIZE if real is None else real.upright
        described += lines is not None
        labelled += bool(lines)
        builder.add(
            path.relative_to(root).as_posix(), split, path, size, _boxes(builder, split, size, lines or []), str(path)
        )
    _require_boxes(root, split, images, sizes, described, labelled)


def _require_boxes(root: Path, split: str, images: Sequence[Path], sizes: Any, described: int, labelled: int) -> None:
    if not images or labelled:
        return
    first = images[0]
    if not sizes:
        raise DatasetInvalid(f"none of the {len(images)} images of split '{split}' is there, e.g. {first}; correct it")
    wanted = _label_file(root, first)
    what = "only empty label files" if described else "no label file"
    raise DatasetInvalid(
        f"the {len(sizes)} images of split '{split}' have {what}: the boxes of {first} belong in {wanted}; "
        f"put them there, or remove '{split}' from the YAML file"
    )


def _boxes(builder: DetectionBuilder, split: str, size: Size, lines: Sequence[LabelLine]) -> list[Box]:
    found = []
    width, height = size
    for line in lines:
        if size == UNKNOWN_SIZE:
            builder.remark(split, NO_SIZE, line.where, label=line.label)
            continue
        left, top, right, bottom = line.corners
        corners = left * width, top * height, right * width, bottom * height
        box = checked_box(line.where, number=line.number, label=line.label, corners=corners, size=size)
        if line.beyond:
            raise DatasetInvalid(
                f"{line.where}: coordinates are shares of the image, from 0 to 1, and these are not; correct them"
            )
        if box is None:
            builder.remark(split, NO_AREA, line.where, label=line.label)
        else:
            found.append(box)
    return found


def _remark_stray_labels(builder: DetectionBuilder, shares: dict[Path, Path]) -> None:
    """Count label files without an image."""
    split_of = {builder.paths[record.image_id]: record.split for record in builder.records}
    folders = {label_file.parent: image for label_file, image in shares.items()}
    for folder, image in folders.items():
        stems = {path.stem for path in image.parent.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES}
        for stray in sorted(folder.glob("*.txt")):
            if stray.stem not in stems and stray.name not in LEFT_BY_TOOLS and folder != image.parent:
                builder.remark(split_of[image], NO_IMAGE, str(stray))


def _label_file(root: Path, path: Path) -> Path:
    """Return labels/x/1.txt for images/x/1.jpg: the last folder of that name, below `root`, is replaced."""
    parts = list(path.relative_to(root).with_suffix(".txt").parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return root / Path(*parts)
