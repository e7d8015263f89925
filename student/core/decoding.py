"""Decode the images of a dataset to prepared pixels. Imports little: processes that decode load this file alone."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from storage.datasets.base import ImageDataset, ImageRecord
from storage.images.decode import ImageUnreadable, decode_image
from student.core.resizing import Preparation

CHUNK = 256

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why an image has no pixels. `lasting`: its bytes were read and are no image; reading them again does not help."""

    why: str
    lasting: bool


@dataclass(frozen=True, kw_only=True)
class ImageSource:
    """Images of a dataset and what is kept of each."""

    dataset: ImageDataset
    records: Sequence[ImageRecord]
    preparation: Preparation

    def decoded_chunks(self, start: int = 0) -> Iterator[list[Pixels | Unreadable]]:
        """Pixels [H, W, 3] of all images from the one at `start` on, in order, CHUNK at a time."""
        # Pillow decodes outside Python's lock, so threads are enough; by chunks, so that few wait in memory.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for first in range(start, len(self.records), CHUNK):
                chunk = self.records[first : first + CHUNK]
                yield list(pool.map(lambda record: decode(self.dataset, record.image_id, self.preparation), chunk))


def decode(dataset: ImageDataset, image_id: str, preparation: Preparation) -> Pixels | Unreadable:
    """Prepared pixels [H, W, 3] of one image."""
    try:
        return np.asarray(preparation(decode_image(dataset.read(image_id), smallest=preparation.smallest)))
    except ImageUnreadable as error:
        return Unreadable(str(error), lasting=True)
    except OSError as error:
        return Unreadable(error.strerror or str(error), lasting=False)


def unreadable_line(dataset: str, unreadable: Sequence[tuple[str, str]], total: int) -> str:
    """The error about images that cannot be read, given as ids and reasons."""
    named = [f"{image_id} ({why})" for image_id, why in unreadable[:3]]
    more = f" and {len(unreadable) - 3} more" if len(unreadable) > 3 else ""
    return (
        f"{len(unreadable)} of {total} images of dataset '{dataset}' cannot be read: {', '.join(named)}{more}; "
        f"repair or remove them, or leave them out by --set damaged_images=drop"
    )
