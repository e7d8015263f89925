"""Variants of questions and images: negated and rephrased questions, mirrored images, and a blank image.

Each is an ordinary dataset or question set, so that the store keeps the answers, and a second audit asks only for new
ones.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageOps

from storage.answers.probes import NEGATED, blank_name
from storage.datasets.base import UNKNOWN, ImageDataset, ImageRecord
from storage.images.decode import ImageUnreadable, decode_image
from storage.questions import AspectQuestion, QuestionSet

REPHRASED = "__rephrased"
REPHRASING = "Question: {question}"
MIRRORED, BLANK = "mirrored/", "blank.png"
GREY = (128, 128, 128)
BLANK_CANDIDATES = 100  # images that are tried for the size of the blank one


@dataclass(frozen=True, kw_only=True)
class DerivedImages:
    """What a dataset made from the images of another one has of it."""

    dataset: ImageDataset

    @property
    def class_names(self) -> Sequence[str]:
        return self.dataset.class_names

    @property
    def notes(self) -> tuple[str, ...]:
        return self.dataset.notes


@dataclass(frozen=True, kw_only=True)
class ImageVariants(DerivedImages):
    """A dataset of the mirrored `records` of another one, and one blank image of their size."""

    originals: Sequence[ImageRecord]

    @property
    def name(self) -> str:
        return f"{self.dataset.name}~variants"

    @property
    def records(self) -> Sequence[ImageRecord]:
        mirrored = [replace(record, image_id=MIRRORED + record.image_id) for record in self.originals]
        return [*mirrored, replace(self.originals[0], image_id=BLANK)]

    def with_images(self, image_ids: Collection[str]) -> ImageVariants:
        """Return this sample and those of the images that the dataset has."""
        wanted = {one.image_id for one in self.originals}
        wanted |= {image_id.removeprefix(MIRRORED) for image_id in image_ids}
        return replace(self, originals=[one for one in self.dataset.records if one.image_id in wanted])

    def read(self, image_id: str) -> bytes:
        if image_id == BLANK:
            return blank_image(self.dataset, self.originals)
        data = self.dataset.read(image_id.removeprefix(MIRRORED))
        try:
            return _encode(ImageOps.mirror(decode_image(data)))
        except ImageUnreadable:
            return data  # decoding reports the error

    def subset(self, records: Sequence[ImageRecord]) -> ImageVariants:
        wanted = {record.image_id.removeprefix(MIRRORED) for record in records}
        # The blank one has the size of the first original that can be read.
        originals = [one for one in self.originals if one.image_id in wanted or BLANK in wanted]
        return ImageVariants(dataset=self.dataset.subset(originals), originals=originals)


@dataclass(frozen=True, kw_only=True)
class BlankImage(DerivedImages):
    """A dataset of a single blank image, of the size of the first image of `dataset` that can be read."""

    split: str

    @property
    def name(self) -> str:
        return blank_name(self.dataset.name)

    @property
    def records(self) -> Sequence[ImageRecord]:
        return [ImageRecord(image_id=BLANK, split=self.split, label=UNKNOWN, label_name="")]

    def read(self, image_id: str) -> bytes:
        return blank_image(self.dataset, self.dataset.records)

    def subset(self, records: Sequence[ImageRecord]) -> BlankImage:
        few = self.dataset.records[:BLANK_CANDIDATES]
        return BlankImage(dataset=self.dataset.subset(few), split=self.split)


def blank_image(dataset: ImageDataset, originals: Sequence[ImageRecord]) -> bytes:
    """Return a grey image of the size of the first of `originals` that can be read. Raises OSError if none can."""
    for record in originals:
        try:
            return _encode(Image.new("RGB", decode_image(dataset.read(record.image_id)).size, GREY))
        except (ImageUnreadable, OSError):
            continue
    raise OSError("no image can be read")


@dataclass(frozen=True, kw_only=True)
class Sample(DerivedImages):
    """Some records of a dataset, as a dataset with the same name."""

    records: Sequence[ImageRecord]

    @property
    def name(self) -> str:
        return self.dataset.name

    def with_images(self, image_ids: Collection[str]) -> Sample:
        """Return this sample and those of the images that the dataset has."""
        wanted = {one.image_id for one in self.records}.union(image_ids)
        return replace(self, records=[one for one in self.dataset.records if one.image_id in wanted])

    def read(self, image_id: str) -> bytes:
        return self.dataset.read(image_id)

    def subset(self, records: Sequence[ImageRecord]) -> Sample:
        return Sample(dataset=self.dataset.subset(records), records=records)


def choose_sample(records: Sequence[ImageRecord], count: int, *, seed: int = 0) -> list[ImageRecord]:
    """Choose `count` of `records` (all if there are fewer) in order, as evenly over the classes as possible; with the
    same seed, a larger count extends a smaller one."""
    generator = np.random.default_rng([seed, 5])
    turns: list[tuple[int, float, int]] = []
    seen: dict[int, int] = {}
    for place in generator.permutation(len(records)).tolist():
        label = records[place].label
        turns.append((seen.get(label, 0), generator.random(), place))
        seen[label] = seen.get(label, 0) + 1
    return [records[place] for place in sorted(place for *_, place in sorted(turns)[:count])]


def probing_questions(questions: QuestionSet) -> QuestionSet:
    """Return every question rephrased, and its negation if it has one; keys end in REPHRASED and NEGATED."""
    found = []
    for question in questions.questions:
        text = REPHRASING.format(question=question.text)
        found.append(AspectQuestion(key=question.key + REPHRASED, text=text))
        if question.negation is not None:
            found.append(AspectQuestion(key=question.key + NEGATED, text=question.negation))
    return QuestionSet(tuple(found))


def _encode(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
