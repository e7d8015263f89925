"""Images with object boxes, and the view of a box that a teacher is shown."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal, Self, get_args

from PIL import Image, ImageDraw

from storage.datasets.base import BOX_MARK, Corners, DatasetInvalid, FileDataset, ImageRecord, Stamp, select
from storage.images.decode import ImageUnreadable, decode_image

BoxKind = Literal["crop", "drawn"]
DECODED = 8  # images cached: the boxes of one image follow each other
LINE_COLOUR = (255, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """One object of an image. `number` is unique within the image and never changes.

    `ignored` ones (crowds, difficult objects) are neither asked about nor learnt, and detecting them is not an error.
    """

    number: int
    label: int
    corners: Corners
    ignored: bool = False


@dataclass(frozen=True, kw_only=True)
class DetectionDataset(FileDataset):
    """Images with `boxes` by image id, labelled by `class_names`.

    An image without boxes shows background only. `sizes` are the width and height that boxes refer to.
    """

    boxes: Mapping[str, Sequence[Box]] = field(repr=False)
    sizes: Mapping[str, tuple[int, int]] = field(repr=False)

    def subset(self, records: Sequence[ImageRecord]) -> Self:
        image_ids = [record.image_id for record in records]
        boxes = {image_id: self.boxes[image_id] for image_id in image_ids}
        sizes = {image_id: self.sizes[image_id] for image_id in image_ids}
        return replace(super().subset(records), boxes=boxes, sizes=sizes)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxView:
    """How a box is shown: cropped with `margin` (relative to its sides) on each side, or drawn onto the whole image.

    Boxes with a side below `smallest` pixels are too small to recognise, and are not asked about.
    """

    kind: BoxKind = "crop"
    margin: float = 0.25
    smallest: float = 8.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(BoxKind):
            raise DatasetInvalid(f"box view {self.kind!r} is unknown; use {' or '.join(get_args(BoxKind))}")
        if not (0 <= self.margin < math.inf and 0 <= self.smallest < math.inf):
            raise DatasetInvalid(f"box margin {self.margin} and smallest {self.smallest} must be numbers of at least 0")

    def show(self, image: Image.Image, corners: Corners) -> Image.Image:
        """Return the view of a box. Raises ImageUnreadable for a box that is too small, or outside the image."""
        left, top, right, bottom = corners
        if left >= image.width or top >= image.height or right <= 0 or bottom <= 0:
            raise ImageUnreadable(f"box lies outside the image of {image.width} x {image.height} pixels")
        width, height = right - left, bottom - top
        if min(width, height) < self.smallest:
            raise ImageUnreadable(f"box of {width:.0f} x {height:.0f} pixels is too small to see")
        if self.kind == "crop":
            wider, higher = self.margin * width, self.margin * height
            return image.crop(_within(image, (left - wider, top - higher, right + wider, bottom + higher)))
        marked = image.copy()
        line = max(1, round(min(image.size) / 150))
        left, top, right, bottom = _within(image, (left - line, top - line, right + line, bottom + line))
        ImageDraw.Draw(marked).rectangle((left, top, right - 1, bottom - 1), outline=LINE_COLOUR, width=line)
        return marked


class BoxImages:
    """The boxes of a detection dataset as a dataset of small images, one per box, for the teacher.

    Its name is the dataset's and the kind of view, so that answers about images and boxes are next to each other.
    `read` returns the view's pixels, so that a box is asked about again if it has moved or its view has changed. Raises
    DatasetInvalid if there are no boxes.
    """

    def __init__(self, dataset: DetectionDataset, view: BoxView) -> None:
        self.name = boxes_name(dataset.name, view.kind)
        self.class_names = dataset.class_names
        self.notes = dataset.notes
        self.view = view
        self.records = [
            ImageRecord(
                image_id=box_id(record.image_id, box),
                split=record.split,
                label=box.label,
                label_name=self.class_names[box.label],
                box=box.corners,
            )
            for record in dataset.records
            for box in dataset.boxes[record.image_id]
            if not box.ignored
        ]
        if not self.records:
            raise DatasetInvalid(f"dataset '{dataset.name}' has no boxes to ask about; ask about its images")
        self._dataset = dataset
        self._open()

    def _open(self) -> None:
        self._corners = {record.image_id: record.box for record in self.records if record.box is not None}
        self._image = lru_cache(DECODED)(lambda image_id: decode_image(self._dataset.read(image_id)))

    def subset(self, records: Sequence[ImageRecord]) -> BoxImages:
        splits = {record.image_id.rpartition(BOX_MARK)[0]: record.split for record in records}
        part = copy.copy(self)
        part.records, part.notes = list(records), ()
        part._dataset = self._dataset.subset([image_record(image_id, split) for image_id, split in splits.items()])
        part._open()
        return part

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name != "_image"}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state)
        self._open()

    def read(self, image_id: str) -> bytes:
        """Return the view of the box, in an uncompressed format whose bytes depend on the pixels alone.

        Raises ImageUnreadable if the image has another size than its boxes refer to.
        """
        whole = image_id.rpartition(BOX_MARK)[0]
        image, size = self._image(whole), self._dataset.sizes[whole]
        if image.size != size:
            raise ImageUnreadable(
                f"image of {image.width} x {image.height} pixels has boxes for {size[0]} x {size[1]} pixels"
            )
        shown = self.view.show(image, self._corners[image_id])
        buffer = io.BytesIO()
        shown.save(buffer, "PPM")
        return buffer.getvalue()

    def stamp(self, image_id: str) -> Stamp:
        """Return the stamp of the whole image; its `view` covers everything else, besides the box, that `read` depends
        on."""
        whole = image_id.rpartition(BOX_MARK)[0]
        size, mtime_ns, _ = self._dataset.stamp(whole)
        width, height = self._dataset.sizes[whole]
        shown = f"{self.view.kind}, margin {self.view.margin}, smallest {self.view.smallest}"
        return Stamp(size, mtime_ns, f"{shown}, boxes for {width} x {height}")


def require_boxes(dataset: DetectionDataset, splits: Collection[str]) -> None:
    """Raise DatasetInvalid for an unknown split, and for one without a box that counts: there is nothing to learn or to
    detect."""
    for split in splits:
        boxes = (box for record in select(dataset, (split,)) for box in dataset.boxes[record.image_id])
        if all(box.ignored for box in boxes):
            raise DatasetInvalid(
                f"dataset '{dataset.name}' has no boxes in split '{split}'; detectors need some there, "
                "check its annotations"
            )


def box_id(image_id: str, box: Box) -> str:
    """Return the id of a box in the store."""
    return f"{image_id}{BOX_MARK}{box.number}"


def boxes_name(dataset: str, kind: BoxKind) -> str:
    """Return the dataset name of the boxes' answers in the store."""
    return f"{dataset}.{kind}"


def checked_box(
    where: str, *, number: int, label: int, corners: Corners, size: tuple[int, int], ignored: bool = False
) -> Box | None:
    """Return the box clipped to its image of `size` (width, height); None for one without an area, as in COCO.

    Raises DatasetInvalid, beginning with `where`, for an invalid one.
    """
    left, top, right, bottom = corners
    if not all(map(math.isfinite, corners)):
        raise DatasetInvalid(f"{where}: a box has corners that are no numbers; correct or remove it")
    if right < left or bottom < top:
        raise DatasetInvalid(
            f"{where}: a box has the negative size {right - left:g} x {bottom - top:g}; correct or remove it"
        )
    width, height = size
    if left >= width or top >= height or right <= 0 or bottom <= 0:
        raise DatasetInvalid(
            f"{where}: a box from {left:g}, {top:g} to {right:g}, {bottom:g} lies outside its image of "
            f"{width} x {height} pixels; correct or remove it"
        )
    inside = (max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height)))
    if inside[2] <= inside[0] or inside[3] <= inside[1]:
        return None
    return Box(number=number, label=label, corners=inside, ignored=ignored)


def image_record(image_id: str, split: str) -> ImageRecord:
    """Return the record of an image of a detection dataset, which has no class of its own."""
    return ImageRecord(image_id=image_id, split=split, label=-1, label_name="")


def _within(image: Image.Image, corners: Corners) -> tuple[int, int, int, int]:
    """Return the whole pixels that contain `corners`, clipped to the image."""
    left, top, right, bottom = corners
    return (
        max(0, math.floor(left)),
        max(0, math.floor(top)),
        min(image.width, math.ceil(right)),
        min(image.height, math.ceil(bottom)),
    )
