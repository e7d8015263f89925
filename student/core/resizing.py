"""Images as they are kept for training and evaluation: Pillow images resized and cropped by torchvision's rules.

torchvision itself takes seconds to import, and the processes that decode images need nothing else of it. A preparation
is a value: equal ones give equal pixels, so its representation is part of a cache's key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from PIL import Image

LONGEST_SIDE = 2  # times the short side; what a panorama has beyond that is cut away, so that batches stay small
EXTREME = 8  # times the short side: the same in evaluation, far outside the middle square
DRAFT = 2  # times the size that is kept: a JPEG is decoded no smaller, so that resizing still averages pixels


class Preparation(Protocol):
    """What is done to a decoded image before it is kept. Picklable."""

    def __call__(self, image: Image.Image) -> Image.Image: ...

    @property
    def smallest(self) -> int | None:
        """Of `decode_image`."""
        ...

    @property
    def most_pixels(self) -> int:
        """The largest number of pixels that is left of an image."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingShrink:
    """Short side at `size`, see `shrink_for_training`. With `draft` large JPEGs are decoded at a reduced scale."""

    size: int
    draft: bool = False

    def __call__(self, image: Image.Image) -> Image.Image:
        return shrink_for_training(image, size=self.size)

    @property
    def smallest(self) -> int | None:
        return DRAFT * self.size if self.draft else None

    @property
    def most_pixels(self) -> int:
        return LONGEST_SIDE * self.size**2


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationView:
    """The middle square, see `view_for_evaluation`."""

    resize_size: int
    image_size: int
    smallest: None = None

    def __call__(self, image: Image.Image) -> Image.Image:
        return view_for_evaluation(image, resize_size=self.resize_size, image_size=self.image_size)

    @property
    def most_pixels(self) -> int:
        return self.image_size**2


@dataclass(frozen=True, slots=True, kw_only=True)
class LongerSideShrink:
    """Longer side at `size`, see `shrink_longer_side`."""

    size: int
    smallest: None = None

    def __call__(self, image: Image.Image) -> Image.Image:
        return shrink_longer_side(image, size=self.size)

    @property
    def most_pixels(self) -> int:
        return self.size**2


def shrink_for_training(image: Image.Image, *, size: int) -> Image.Image:
    """`image` with its short side at `size`, never enlarged; panoramas lose their ends."""
    short = min(image.size)
    limit = LONGEST_SIDE * short
    if max(image.size) > limit:
        image = crop_middle(image, min(image.width, limit), min(image.height, limit))
    return image if short <= size else resize_short_side(image, size)


def view_for_evaluation(image: Image.Image, *, resize_size: int, image_size: int) -> Image.Image:
    """Short side to `resize_size`, then the middle square of `image_size`."""
    if max(image.size) > (limit := EXTREME * min(image.size)):
        # What is far from the middle would only be made larger and thrown away.
        image = crop_middle(image, min(image.width, limit), min(image.height, limit))
    return crop_middle(resize_short_side(image, resize_size), image_size, image_size)


def shrink_longer_side(image: Image.Image, *, size: int) -> Image.Image:
    """`image` with its longer side at `size`, never enlarged."""
    width, height = shrunk_size(image.size, size)
    return image if (width, height) == image.size else image.resize((width, height), Image.Resampling.BILINEAR)


def shrunk_size(sides: tuple[int, int], size: int) -> tuple[int, int]:
    """The sides of an image after `shrink_longer_side`."""
    longer = max(sides)
    if longer <= size:
        return sides
    first, second = (max(1, round(side * size / longer)) for side in sides)
    return first, second


def resize_short_side(image: Image.Image, size: int) -> Image.Image:
    """As `torchvision.transforms.v2.functional.resize(image, [size])`: bilinear over the area of each new pixel."""
    short, long = sorted(image.size)
    other = int(size * long / short)
    sides = (size, other) if image.width <= image.height else (other, size)
    return image if sides == image.size else image.resize(sides, Image.Resampling.BILINEAR)


def crop_middle(image: Image.Image, width: int, height: int) -> Image.Image:
    """As `torchvision.transforms.v2.functional.center_crop`; no side may be longer than the image's."""
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))
