"""Named lists of labelled images, from folders, torchvision, CUB-200-2011 and Hugging Face; with boxes from COCO, YOLO
and VOC."""

from storage.datasets.base import DatasetInvalid, FileDataset, ImageDataset, ImageRecord
from storage.datasets.detection import BoxImages, BoxView, DetectionDataset
from storage.datasets.folder import image_folder
from storage.datasets.open import open_dataset, open_detection_dataset

__all__ = [
    "BoxImages",
    "BoxView",
    "DatasetInvalid",
    "DetectionDataset",
    "FileDataset",
    "ImageDataset",
    "ImageRecord",
    "image_folder",
    "open_dataset",
    "open_detection_dataset",
]
