"""Open what annotation tools export, with labels of whole images or with boxes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from storage.datasets.base import FileDataset
from storage.datasets.coco.dataset import coco_dataset, is_coco_folder
from storage.datasets.detection import DetectionDataset
from storage.datasets.exports.cvat import is_cvat_folder, read_cvat
from storage.datasets.exports.export import Export, classification_dataset, detection_dataset
from storage.datasets.exports.fiftyone import is_fiftyone_folder, read_fiftyone
from storage.datasets.exports.label_studio import is_label_studio_folder, read_label_studio
from storage.datasets.exports.voc import is_voc_folder, read_voc
from storage.datasets.specification import Specification
from storage.datasets.trees import LocalTree
from storage.datasets.yolo.dataset import is_yolo_folder, yolo_dataset

OPTIONS_OF_EXPORTS = ("test", "images", "label")
LABEL_KINDS = ("fiftyone", "label-studio", "cvat")
BOX_KINDS = ("coco", "yolo", *LABEL_KINDS, "voc")
FOLDERS: dict[str, Callable[[Path], bool]] = {
    "coco": is_coco_folder,
    "yolo": lambda place: is_yolo_folder(place) or place.suffix in (".yaml", ".yml"),
    "fiftyone": is_fiftyone_folder,
    "label-studio": is_label_studio_folder,
    "cvat": is_cvat_folder,
    "voc": is_voc_folder,
}


def recognise_boxes(place: Path) -> str:
    """Return the kind of dataset that the files in a folder are, empty for none."""
    return next((kind for kind in BOX_KINDS if FOLDERS[kind](place)), "")


def recognise_labels(place: Path) -> str:
    """Return the kind of export with labels of whole images that the files in a folder are, empty for none."""
    return next((kind for kind in LABEL_KINDS if FOLDERS[kind](place)), "")


def open_boxes(kind: str, place: Path, name: str | None, asked: Specification) -> DetectionDataset:
    """Open the images with boxes at `place`. Raises DatasetInvalid."""
    if kind == "coco":
        return coco_dataset(place, name=name)
    if kind == "yolo":
        return yolo_dataset(place, name=name)
    export, tree = _read(kind, place, asked)
    return detection_dataset(export, tree, name or _folder(export).resolve().name)


def open_labels(kind: str, place: Path, name: str | None, asked: Specification) -> FileDataset:
    """Open the images with labels at `place`. Raises DatasetInvalid."""
    export, tree = _read(kind, place, asked)
    return classification_dataset(export, tree, name or _folder(export).resolve().name)


def _read(kind: str, place: Path, asked: Specification) -> tuple[Export, LocalTree]:
    """Return what a tool exported, and the folder of the images: that of the file, or the option `images` within it."""
    if kind == "fiftyone":
        export = read_fiftyone(place, asked.text("label"))
    else:
        export = {"label-studio": read_label_studio, "cvat": read_cvat, "voc": read_voc}[kind](place)
    tree = LocalTree(_folder(export))
    images = asked.text("images")
    return export, tree.subtree(images) if images else tree


def _folder(export: Export) -> Path:
    return export.place if export.place.is_dir() else export.place.parent
