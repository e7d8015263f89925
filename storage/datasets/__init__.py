"""Named lists of labelled images, from folders, torchvision, CUB-200-2011 and Hugging Face."""

from storage.datasets.base import DatasetInvalid, FileDataset, ImageDataset, ImageRecord
from storage.datasets.folder import image_folder
from storage.datasets.open import open_dataset

__all__ = ["DatasetInvalid", "FileDataset", "ImageDataset", "ImageRecord", "image_folder", "open_dataset"]
