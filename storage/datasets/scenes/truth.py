"""Read the right answers about the images of a dataset of rendered scenes."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import polars as pl

from storage.datasets.base import FileDataset, ImageDataset
from storage.datasets.scenes.folder import GROUND_TRUTH, holds_rendered_scenes


def read_truth(dataset: ImageDataset) -> pl.DataFrame | None:
    """Return the right answers: `image_id`, and a bool column for each question, named by its key. None for a dataset
    that is not a folder of rendered scenes, or has other images than its file of right answers."""
    folder = _folder_of(dataset)
    if folder is None or not holds_rendered_scenes(folder):
        return None
    truth = pl.read_parquet(folder / GROUND_TRUTH)
    known = set(truth["image_id"])
    return truth if all(record.image_id in known for record in dataset.records) else None


def _folder_of(dataset: ImageDataset) -> Path | None:
    """Return the folder that image ids are relative to; None where images are not files in one."""
    if not isinstance(dataset, FileDataset) or not dataset.records:
        return None
    image_id = dataset.records[0].image_id
    path = dataset.places[image_id]
    parts = PurePosixPath(image_id).parts
    return path.parents[len(parts) - 1] if path.parts[-len(parts) :] == parts else None
