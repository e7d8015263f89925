"""Open any dataset by one string: `aspects --dataset SOURCE`."""

from __future__ import annotations

import re
from pathlib import Path

from storage.datasets.base import DatasetInvalid, ImageDataset
from storage.datasets.coco.dataset import coco_dataset
from storage.datasets.cub import cub_200_2011, is_cub_folder
from storage.datasets.detection import DetectionDataset
from storage.datasets.exports.open import (
    BOX_KINDS,
    LABEL_KINDS,
    OPTIONS_OF_EXPORTS,
    open_boxes,
    open_labels,
    recognise_boxes,
    recognise_labels,
)
from storage.datasets.files import files_with
from storage.datasets.folder import class_folders, has_splits, holds_classes, image_folder
from storage.datasets.hold_out import with_held_out
from storage.datasets.hugging_face.dataset import hugging_face_dataset
from storage.datasets.specification import Specification, is_address
from storage.datasets.table.metadata import is_metadata_folder, is_table
from storage.datasets.torchvision_datasets import torchvision_dataset
from storage.datasets.trees import LocalTree
from storage.datasets.voc import voc_dataset

DEFAULT_ROOT = Path("data")
KINDS = "a folder, torchvision:NAME, cub:FOLDER, hf:NAME or a table of paths and labels (docs/datasets.md)"
DETECTION_KINDS = "a folder, coco:FOLDER, yolo:FOLDER, torchvision:NAME or an export of a tool (docs/detection.md)"
# Detection datasets of torchvision, and their folders below the data root.
COCO, VOC = "cocodetection", {"vocdetection": "2012", "vocdetection2012": "2012", "vocdetection2007": "2007"}
# Characters that change the meaning of the store's folder `dataset=NAME`, which Polars reads as a percent-encoded pair.
NOT_IN_A_NAME = re.compile(r"[/\\=%:?*\x00-\x1f]|^\.|^$")


def open_dataset(
    source: str, *, name: str | None = None, root: Path | None = None, download: bool = False
) -> ImageDataset:
    """Open the dataset named by `source`: a folder, a table, `torchvision:NAME`, `cub:FOLDER`, `hf:NAME`, or
    `classes:FILE`: a file of class names, without images.

    `name` replaces the dataset's own name. `root` holds torchvision's files (default `data/`) and, if given, the cache
    of Hugging Face datasets. `download` lets torchvision download missing files. A folder with CUB-200-2011's lists is
    recognised. Raises DatasetInvalid.
    """
    dataset = _open(source, name, root, download)
    _require_folder_name(dataset.name)
    return dataset


def open_detection_dataset(
    source: str, *, name: str | None = None, root: Path | None = None, download: bool = False
) -> DetectionDataset:
    """Open the images with boxes named by `source`.

    One of `coco:FOLDER`, `yolo:FOLDER` (or its YAML file), `torchvision:CocoDetection`, `torchvision:VOCDetection`
    (2012), `torchvision:VOCDetection2007`, or a folder that is recognised by its files. Otherwise like `open_dataset`;
    CocoDetection, which torchvision does not download either, is in `root`/coco.
    """
    dataset = _open_detection(source, name, root or DEFAULT_ROOT, download)
    _require_folder_name(dataset.name)
    return dataset


def _open_detection(source: str, name: str | None, root: Path, download: bool) -> DetectionDataset:
    kind, colon, rest = source.partition(":")
    if colon and kind in ("torchvision", *BOX_KINDS) and not rest:
        raise DatasetInvalid(f"dataset '{source}' names nothing after '{kind}:'; expected {DETECTION_KINDS}")
    if kind == "torchvision":
        if rest.casefold() == COCO:
            return coco_dataset(root / "coco", name=name or "COCO")
        if rest.casefold() not in VOC:
            raise DatasetInvalid(
                f"no detection dataset '{source}'; known are CocoDetection, VOCDetection and VOCDetection2007"
            )
        return voc_dataset(VOC[rest.casefold()], name=name, root=root, download=download)
    asked = Specification.parse(rest if colon and kind in BOX_KINDS else source)
    asked.allow(OPTIONS_OF_EXPORTS)
    place = Path(asked.place).expanduser()
    if not colon or kind not in BOX_KINDS:
        kind = recognise_boxes(place)
    if not kind and not place.exists():
        raise DatasetInvalid(f"no detection dataset at {source}; expected {DETECTION_KINDS}")
    if not kind:
        raise DatasetInvalid(f"no COCO or YOLO annotations in {source}; expected {DETECTION_KINDS}")
    return with_held_out(open_boxes(kind, place, name, asked), asked.share("test"))


def _require_folder_name(name: str) -> None:
    if NOT_IN_A_NAME.search(name):
        raise DatasetInvalid(f"dataset name {name!r} cannot name a folder; use letters, digits, '-' and '_'")


def _open(source: str, name: str | None, root: Path | None, download: bool) -> ImageDataset:
    if is_address(source.removeprefix("table:")):
        from storage.datasets.remote.open import remote_dataset

        return remote_dataset(source.removeprefix("table:"), name=name, tables=source.startswith("table:"))
    kind, colon, rest = source.partition(":")
    if colon and kind in ("torchvision", "cub", "hf", "table", "classes", "webdataset", *LABEL_KINDS):
        if not rest:
            raise DatasetInvalid(f"dataset '{source}' names nothing after '{kind}:'; expected {KINDS}")
        if kind == "torchvision":
            return torchvision_dataset(rest, name=name, root=root or DEFAULT_ROOT, download=download)
        if kind == "classes":
            from storage.datasets.classes import class_list

            return class_list(Path(rest).expanduser(), name=name)
        if kind == "cub":
            return cub_200_2011(Path(rest).expanduser(), name=name)
        if kind == "table":
            return _open_table(Specification.parse(rest), name)
        if kind == "webdataset":
            return _open_archives(Specification.parse(rest), name)
        if kind in LABEL_KINDS:
            return _open_labels(kind, Specification.parse(rest), name)
        return hugging_face_dataset(rest, name=name, cache=root)
    asked = Specification.parse(source)
    place = Path(asked.place).expanduser()
    if not place.exists() and re.fullmatch(r"\w{2,}:.*", source):
        raise DatasetInvalid(f"dataset '{source}' is of no known kind '{kind}:'; expected {KINDS}")
    if not holds_classes(place) and (found := _open_image_table(place, asked, name)) is not None:
        return found
    if is_table(place):
        return _open_table(asked, name)
    if place.is_dir() and is_metadata_folder(LocalTree(place)):
        return _open_table(asked, name)
    if place.suffix == ".tar" or (files_with(place, (".tar",)) and not holds_classes(place)):
        return _open_archives(asked, name)
    if not has_splits(place) and (exported := recognise_labels(place)):
        return _open_labels(exported, asked, name)
    asked.allow(("test",))
    if is_cub_folder(place):
        return cub_200_2011(place, name=name)
    if asked.options and not has_splits(place):
        return with_held_out(class_folders(place, name=name), asked.share("test"))
    return with_held_out(image_folder(place, name=name), asked.share("test"))


# pyarrow and Polars are slow to import, and a folder of images needs neither: the readers below are imported when used.


def _open_table(asked: Specification, name: str | None) -> ImageDataset:
    from storage.datasets.table.read import table_dataset

    return table_dataset(asked, name=name)


def _open_image_table(place: Path, asked: Specification, name: str | None) -> ImageDataset | None:
    """Return the dataset of Parquet or Arrow files with images, None if there are no such files."""
    if not files_with(place, (".parquet", ".pq", ".arrow", ".feather")):
        return None
    from storage.datasets.image_tables.dataset import holds_images, image_table_dataset

    if not holds_images(place):
        return None
    return with_held_out(image_table_dataset(place, asked, name=name), asked.share("test"))


def _open_archives(asked: Specification, name: str | None) -> ImageDataset:
    from storage.datasets.webdataset.dataset import webdataset

    dataset = webdataset(Path(asked.place).expanduser(), asked, name=name)
    return with_held_out(dataset, asked.share("test"))


def _open_labels(kind: str, asked: Specification, name: str | None) -> ImageDataset:
    asked.allow(OPTIONS_OF_EXPORTS)
    return with_held_out(open_labels(kind, Path(asked.place).expanduser(), name, asked), asked.share("test"))
