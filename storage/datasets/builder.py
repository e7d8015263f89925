"""Build a detection dataset, and count what is left out of it and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from storage.datasets.base import Corners, DatasetInvalid, ImageRecord
from storage.datasets.detection import Box, DetectionDataset, checked_box, image_record
from storage.datasets.files import counted, listing
from storage.datasets.image_size import Size, StoredSize
from storage.text import is_unicode, printable

TRAIN = "train"


@dataclass(frozen=True, slots=True)
class Remark:
    """A note with a count: "2 images are not there and left out"."""

    one: str
    many: str

    def __call__(self, count: int, example: str) -> str:
        return f"{count:,} {self.one if count == 1 else self.many}, e.g. {printable(example, 120)}"


NOT_THERE = Remark("image is not there and left out", "images are not there and left out")
NOT_DESCRIBED = Remark("image has no annotation file and is left out", "images have no annotation file, left out")
NOT_LISTED = Remark("image is in no annotation file and left out", "images are in no annotation file and left out")
NO_AREA = Remark("box without an area is left out", "boxes without an area are left out")
NO_SIZE = Remark("box of an image that cannot be opened is left out", "boxes of images that cannot be opened, left out")
IGNORED = Remark("box is ignored (crowd or difficult)", "boxes are ignored (crowd or difficult)")
TWICE = Remark("box is there twice", "boxes are there twice")
NO_LABELS = Remark("image has no label file and counts as background", "images have no label file, thus background")
NO_IMAGE = Remark("label file has no image", "label files have no image")
NO_FOLDER = Remark("folder or list is not there, so the split is left out", "folders are not there and left out")
REPEATED = Remark("image is in another split too", "images are in another split too")


@dataclass
class DetectionBuilder:
    """Collects images with their boxes. `place` is the file or folder named in errors."""

    place: Path
    class_names: Sequence[str]
    records: list[ImageRecord] = field(default_factory=list)
    paths: dict[str, Path] = field(default_factory=dict)
    boxes: dict[str, tuple[Box, ...]] = field(default_factory=dict)
    sizes: dict[str, Size] = field(default_factory=dict)
    _remarks: dict[tuple[str, Remark], tuple[int, str]] = field(default_factory=dict)
    _lost: dict[int, Counter[Remark]] = field(default_factory=dict)  # boxes that were left out, by label
    _splits: dict[str, str] = field(default_factory=dict)  # by image id

    def add(self, image_id: str, split: str, path: Path, size: Size, boxes: Sequence[Box], where: str) -> None:
        """Add an image; `size` is that of the upright image, which the boxes refer to.

        Raises DatasetInvalid, beginning with `where`, for a repeated id or box number.
        """
        boxes = tuple(boxes)
        if not is_unicode(image_id):
            raise DatasetInvalid(f"{where}: the name of the file is not UTF-8; rename it")
        if (seen := self._splits.get(image_id)) is not None:
            if seen == split or self.boxes[image_id] != boxes:
                raise DatasetInvalid(f"{where}: image {image_id} was described before (split {seen}); keep one of them")
            self.remark(split, REPEATED, image_id)
        if len(boxes) > 1:
            self._check_boxes(split, boxes, image_id, where)
        self.records.append(image_record(image_id, split))
        self.paths[image_id], self.boxes[image_id], self.sizes[image_id] = path, boxes, size
        self._splits[image_id] = split

    def remark(self, split: str, remark: Remark, example: str, *, label: int | None = None) -> None:
        """Count a remark for the notes; with a `label`, a box of that class was left out."""
        count, first = self._remarks.get((split, remark), (0, example))
        self._remarks[split, remark] = count + 1, first
        if label is not None:
            self.lose(label, remark)

    def lose(self, label: int, reason: Remark) -> None:
        """Count a box of the class as left out."""
        self._lost.setdefault(label, Counter())[reason] += 1

    def finish(self, name: str) -> DetectionDataset:
        """Return the dataset. Raises DatasetInvalid for a split or a class whose boxes were all left out."""
        counts: Counter[tuple[str, int]] = Counter()
        for record in self.records:
            for box in self.boxes[record.image_id]:
                counts[record.split, box.label] += 1
                if box.ignored:
                    self.remark(record.split, IGNORED, f"{box.number} of {record.image_id}")
        self._refuse_losses({label for _, label in counts}, {split for split, _ in counts})
        return DetectionDataset(
            name=name,
            class_names=tuple(self.class_names),
            records=self.records,
            places=self.paths,
            boxes=self.boxes,
            sizes=self.sizes,
            notes=(*self._notes(), *self._never_trained()),
        )

    def _check_boxes(self, split: str, boxes: Sequence[Box], image_id: str, where: str) -> None:
        if len({box.number for box in boxes}) < len(boxes):
            number = next(one for one, count in Counter(box.number for box in boxes).items() if count > 1)
            raise DatasetInvalid(
                f"{where}: several boxes of image {image_id} have the id {number}; give each an id of its own"
            )
        if len({(box.label, box.corners) for box in boxes}) < len(boxes):
            for (_, corners), count in Counter((box.label, box.corners) for box in boxes).items():
                for _ in range(count - 1):
                    self.remark(split, TWICE, f"{shown(corners)} of {image_id}")

    def _refuse_losses(self, labels: set[int], splits: set[str]) -> None:
        for label, reasons in sorted(self._lost.items()):
            if label not in labels:
                why = "; ".join(f"{count:,} x {reason.one}" for reason, count in reasons.items())
                raise DatasetInvalid(
                    f"{self.place}: class '{self.class_names[label]}' loses all of its boxes ({why}); "
                    "correct these, or remove the class and its annotations"
                )
        for split, remark in self._remarks:
            if remark in (NO_AREA, NO_SIZE) and split not in splits:
                said = remark(*self._remarks[split, remark])
                raise DatasetInvalid(f"{self.place}: split {split} has no box that can be used: {said}; correct these")

    def _notes(self) -> list[str]:
        """Return one line per split."""
        splits = dict.fromkeys(split for split, _ in self._remarks)
        said = {
            split: [remark(*found) for (its, remark), found in self._remarks.items() if its == split]
            for split in splits
        }
        return [f"{split}: {'; '.join(parts)}" for split, parts in said.items()]

    def _never_trained(self) -> list[str]:
        """Return a note about classes without training images."""
        labels = {
            box.label
            for record in self.records
            if record.split == TRAIN
            for box in self.boxes[record.image_id]
            if not box.ignored
        }
        missing = [name for label, name in enumerate(self.class_names) if label not in labels]
        if not labels or not missing:
            return []
        return [f"{counted(len(missing), 'class', 'classes')} without a box in {TRAIN}: {listing(missing)}"]


def upright_box(
    where: str,
    *,
    number: int,
    label: int,
    corners: Corners,
    declared: Size,
    turned: StoredSize | None,
    ignored: bool = False,
) -> Box | None:
    """Return `checked_box` in an image of the `declared` size, turned with the image if its pixels are not upright."""
    box = checked_box(where, number=number, label=label, corners=corners, size=declared, ignored=ignored)
    return box if box is None or turned is None else replace(box, corners=turned.turn(box.corners))


def box_frame(where: str, declared: Size | None, real: StoredSize | None) -> tuple[Size, StoredSize | None]:
    """Return the size that boxes refer to, and how to turn them; None if they need not be turned.

    Boxes are in stored pixels if the declared size is that of the stored ones, or is missing: COCO's tools ignore EXIF.
    Otherwise they are in the upright image's. Raises DatasetInvalid, beginning with `where`, if neither matches.
    """
    if real is None:
        return declared or (0, 0), None
    if declared is None or declared == real.stored:
        return real.stored, real if real.orientation > 1 else None
    if declared == real.upright:
        return real.upright, None
    turned = f" ({real.upright[0]} x {real.upright[1]} upright)" if real.upright != real.stored else ""
    raise DatasetInvalid(
        f"{where}: the annotations are for {declared[0]} x {declared[1]} pixels, but the file has "
        f"{real.width} x {real.height}{turned}; use the images that were annotated, or correct the size and the boxes"
    )


def inside(root: Path, folder: Path, named: str, where: str) -> Path:
    """Return the file `named` in `folder`, which is in `root`.

    Raises DatasetInvalid, beginning with `where`, for a path that leaves `root`: an annotation file cannot make files
    outside readable. Links are followed, since they were made on this machine, not by the annotation file.
    """
    parts = PurePosixPath(named).parts
    path = folder / named
    leaves = ".." in parts or not (path.is_relative_to(root) or path.is_relative_to(root.absolute()))
    if not parts or "\0" in named or leaves or not is_unicode(named):
        raise DatasetInvalid(
            f"{where} is {printable(repr(named), 200)}, which is not a path below {root}; "
            "name files relative to the dataset's folder, without '..'"
        )
    return path if path.is_relative_to(root) else root / path.relative_to(root.absolute())


def shown(corners: Corners) -> str:
    left, top, right, bottom = corners
    return f"{left:g}, {top:g} to {right:g}, {bottom:g}"
