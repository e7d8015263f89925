"""Small copies of a dataset's images, made once and cached on disk.

A thumbnail is a WebP file named by a digest of the image's id, the stamp of its file and the side. Only ids of the
dataset's records are read, and what is served has been decoded and encoded again. The thumbnail of a class, for answers
about classes, has a few of its images.
"""

from __future__ import annotations

import hashlib
import io
import threading
import uuid
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from PIL import Image, ImageOps

from storage.datasets.base import BOX_MARK, ImageDataset, ImageRecord, StampedDataset
from storage.datasets.detection import BoxView, DetectionDataset, box_id
from storage.images.decode import ImageUnreadable, decode_image

SIDES = (96, 192, 768)  # pixels of the longer side
DECODERS = 2  # images decoded at once: a large one takes hundreds of megabytes
QUALITY = 82
EXAMPLES = 4  # images of a class


class UnknownImage(KeyError):
    """The dataset has no image of that id."""


class Thumbnails:
    """Thumbnails of the images and classes of `dataset`, and of boxes of a detection dataset, in the folder `cache`."""

    def __init__(self, dataset: ImageDataset, cache: Path) -> None:
        self.dataset = dataset
        self._cache = cache
        self._decoding = threading.BoundedSemaphore(DECODERS)

    @cached_property
    def records(self) -> dict[str, ImageRecord]:
        """The records of the images by id."""
        return {record.image_id: record for record in self.dataset.records}

    @cached_property
    def examples(self) -> dict[str, list[str]]:
        """The first EXAMPLES images of each class by its name."""
        found: dict[str, list[str]] = {name: [] for name in self.dataset.class_names}
        for record in self.dataset.records:
            if len(ids := found.get(record.label_name, [])) < EXAMPLES:
                ids.append(record.image_id)
        return found

    def is_known(self, image_id: str) -> bool:
        """Whether it is the id of an image or a box, or the name of a class with images."""
        return image_id in self.records or self._box(image_id) is not None or bool(self.examples.get(image_id))

    def key(self, image_id: str, side: int) -> str:
        """A digest that changes where the image does. Raises UnknownImage, and OSError for a missing file."""
        if not self.is_known(image_id):
            raise UnknownImage(image_id)
        state = ",".join(self._state(whole) for whole in self._wholes(image_id))
        text = "\n".join((self.dataset.name, image_id, state, repr(self._box(image_id)), str(side)))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def _state(self, whole: str) -> str:
        if isinstance(self.dataset, StampedDataset):
            return repr(tuple(self.dataset.stamp(whole)))
        return hashlib.sha256(self.dataset.read(whole)).hexdigest()

    def read(self, image_id: str, side: int) -> bytes:
        """The thumbnail as WebP. Raises UnknownImage, OSError and ImageUnreadable."""
        key = self.key(image_id, side)
        path = self._cache / key[:2] / f"{key}.webp"
        try:
            return path.read_bytes()
        except FileNotFoundError:
            data = self._make(image_id, side)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Without fsync: a file that a crash empties is not an image, and is only a cache.
        beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        beside.write_bytes(data)
        beside.replace(path)
        return data

    def _make(self, image_id: str, side: int) -> bytes:
        with self._decoding:
            images = [decode_image(self.dataset.read(whole)) for whole in self._wholes(image_id)]
            corners = self._box(image_id)
            if corners is not None:
                images = [BoxView(smallest=1.0).show(images[0], corners)]
            image = images[0] if len(images) == 1 else joined(images, side)
            image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
            buffer = io.BytesIO()
            image.save(buffer, "WEBP", quality=QUALITY, method=3)
            return buffer.getvalue()

    def _wholes(self, image_id: str) -> list[str]:
        """The ids of the images that are shown: that of the image, of the one that a box is in, or those of a class."""
        if image_id in self.records:
            return [image_id]
        return self.examples.get(image_id) or [image_id.rpartition(BOX_MARK)[0]]

    def _box(self, image_id: str) -> tuple[float, float, float, float] | None:
        whole = image_id.rpartition(BOX_MARK)[0]
        if image_id in self.records or whole not in self.records or not isinstance(self.dataset, DetectionDataset):
            return None
        found = (box.corners for box in self.dataset.boxes[whole] if box_id(whole, box) == image_id)
        return next(found, None)


def joined(images: Sequence[Image.Image], side: int) -> Image.Image:
    """Up to four images as the quarters of a square, each cut to a square."""
    found, half = Image.new("RGB", (side, side), (127, 127, 127)), side // 2
    for number, image in enumerate(images):
        quarter = ImageOps.fit(image, (half, half), Image.Resampling.LANCZOS)
        found.paste(quarter, (number % 2 * (side - half), number // 2 * (side - half)))
    return found


def placeholder(side: int, text: str) -> bytes:
    """An SVG image that says why there is no thumbnail."""
    words = "".join(character if character.isalnum() or character == " " else " " for character in text)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{side}" height="{side}" viewBox="0 0 96 96">'
        '<rect width="96" height="96" fill="#8884"/>'
        f'<text x="48" y="52" font-family="sans-serif" font-size="12" text-anchor="middle" fill="#888">{words}</text>'
        "</svg>"
    ).encode()


READ_ERRORS = (OSError, ImageUnreadable)
