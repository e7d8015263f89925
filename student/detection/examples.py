"""Training examples: images joined with their boxes and the teacher's answers about either."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor

from storage.answers.read import Answers
from storage.datasets.base import ImageRecord
from storage.datasets.detection import BoxKind, DetectionDataset, box_id, boxes_name
from student.core.aspects import Aspect
from student.core.decoding import ImageSource
from student.core.examples import ExamplesInvalid, chosen_questions, log_odds_by_id
from student.core.images import Images
from student.core.placement import open_images
from student.core.resizing import LongerSideShrink, shrunk_size
from student.detection.config import DetectorConfig

KINDS: tuple[BoxKind, ...] = ("crop", "drawn")


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionAnswers:
    """What a teacher has answered about a dataset's whole images, and about its boxes."""

    images: Answers | None = None
    boxes: Answers | None = None

    @property
    def teacher(self) -> str | None:
        """The teachers' fingerprints."""
        return "+".join(dict.fromkeys(answers.teacher for answers in (self.images, self.boxes) if answers)) or None

    def used_by(self, config: DetectorConfig) -> DetectionAnswers:
        """What the config learns from. Raises ExamplesInvalid where there are no such answers."""
        wanted = {"images": config.whole_alpha > 0, "boxes": config.box_alpha > 0}
        for about, learned in wanted.items():
            if learned and getattr(self, about) is None:
                raise ExamplesInvalid(
                    f"method '{config.method}' learns from answers about {about}, but there are none; "
                    f"ask a teacher, or take another method"
                )
        return DetectionAnswers(**{about: getattr(self, about) for about, learned in wanted.items() if learned})

    def aspects(self, config: DetectorConfig) -> tuple[tuple[Aspect, ...], tuple[Aspect, ...]]:
        """The aspects of boxes and those of images that the config's detector has outputs for."""
        used = self.used_by(config)
        return _aspects(config, used.boxes), _aspects(config, used.images)


@dataclass(frozen=True, kw_only=True)
class DetectionExamples:
    """N images in the cache's order: boxes [n, 4] in pixels of the cached image, labels [n], p(yes) of the aspects of
    boxes [n, Q] and of images [N, Q'] (NaN: no answer), and the images that one epoch goes through."""

    boxes: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]
    box_answers: tuple[Tensor, ...]
    image_answers: Tensor
    train_indices: Tensor

    def target(self, index: int) -> dict[str, Tensor]:
        """Boxes, labels and answers of an image, as `Detector` wants them."""
        return {
            "boxes": self.boxes[index],
            "labels": self.labels[index],
            "aspects": self.box_answers[index],
            "image_aspects": self.image_answers[index],
        }


def join_detection_examples(
    config: DetectorConfig, dataset: DetectionDataset, images: Images, teacher_answers: DetectionAnswers
) -> DetectionExamples:
    """Join cached images with their boxes and with what the config learns from answers.

    Boxes that the teacher was not asked about, since they are too small to see, teach place and class alone. Raises
    ExamplesInvalid for answers about another dataset, and for images or boxes without answers unless the
    config drops answers that are missing.
    """
    used = teacher_answers.used_by(config)
    require_answers(config, dataset, images.records, used)
    corners, labels, answers = [], [], []
    for index, record in enumerate(images.records):
        things = [box for box in dataset.boxes[record.image_id] if not box.ignored]
        found = torch.tensor([box.corners for box in things], dtype=torch.float32).view(-1, 4)
        corners.append(found * cache_scale(dataset, images, index))
        labels.append(torch.tensor([box.label for box in things], dtype=torch.int64))
        answers.append(_p_yes(config, used.boxes, [box_id(record.image_id, box) for box in things]))
    image_answers = _p_yes(config, used.images, [record.image_id for record in images.records])
    if config.shuffled:
        generator = torch.Generator().manual_seed(config.seed)
        image_answers = image_answers[torch.randperm(len(images), generator=generator)]
        every = torch.cat(answers)
        answers = list(every[torch.randperm(len(every), generator=generator)].split([len(its) for its in labels]))
    indices = np.arange(len(images))
    if config.train_fraction < 1:
        count = max(1, round(config.train_fraction * len(images)))
        indices = np.sort(np.random.default_rng([config.seed, 4]).permutation(indices)[:count])
    return DetectionExamples(
        boxes=tuple(corners),
        labels=tuple(labels),
        box_answers=tuple(answers),
        image_answers=image_answers,
        train_indices=torch.from_numpy(indices),
    )


def cache_scale(dataset: DetectionDataset, images: Images, index: int) -> Tensor:
    """What turns corners in the dataset's pixels into those of the cached image: [4]."""
    height, width = images.shape(index)
    whole = dataset.sizes[images.records[index].image_id]
    return torch.tensor([width / whole[0], height / whole[1]] * 2, dtype=torch.float32)


def require_answers(
    config: DetectorConfig, dataset: DetectionDataset, records: Sequence[ImageRecord], used: DetectionAnswers
) -> None:
    """Raises ExamplesInvalid where `used` is about another dataset, or does not know of all these images and boxes."""
    if used.images is not None:
        _require_dataset(used.images, dataset, (dataset.name,))
        _require_ids(config, used.images, [record.image_id for record in records], "images")
    if used.boxes is not None:
        _require_dataset(used.boxes, dataset, tuple(boxes_name(dataset.name, kind) for kind in KINDS))
        things = [(record, box) for record in records for box in dataset.boxes[record.image_id] if not box.ignored]
        _require_ids(config, used.boxes, [box_id(record.image_id, box) for record, box in things], "boxes")


def detection_digest(
    dataset: DetectionDataset, records: Sequence[ImageRecord], teacher_answers: DetectionAnswers
) -> str:
    """Digest of a training set: ids, boxes, class names and answers, in order."""
    digest = hashlib.sha256(repr((dataset.name, tuple(dataset.class_names))).encode())
    for record in records:
        boxes = dataset.boxes[record.image_id]
        digest.update(
            repr((record.image_id, [(box.number, box.label, box.corners, box.ignored) for box in boxes])).encode()
        )
    things = [box_id(record.image_id, box) for record in records for box in dataset.boxes[record.image_id]]
    for answers, ids in (
        (teacher_answers.images, [record.image_id for record in records]),
        (teacher_answers.boxes, things),
    ):
        if answers is not None:
            digest.update(repr(answers.questions.keys).encode())
            digest.update(log_odds_by_id(answers, ids).tobytes())
    return digest.hexdigest()[:16]


def detection_cache(
    config: DetectorConfig, dataset: DetectionDataset, records: Sequence[ImageRecord], path: Path, *, progress: bool
) -> AbstractContextManager[Images]:
    """Images with their longer side at most `image_size`, see `open_images`."""

    def shape_of(record: ImageRecord) -> tuple[int, int]:
        width, height = shrunk_size(dataset.sizes[record.image_id], config.image_size)
        return height, width

    source = ImageSource(dataset=dataset, records=records, preparation=LongerSideShrink(size=config.image_size))
    return open_images(config, source, path, progress=progress, shape_of=shape_of)


def _aspects(config: DetectorConfig, answers: Answers | None) -> tuple[Aspect, ...]:
    if answers is None:
        return ()
    chosen = [answers.questions.questions[column] for column in chosen_questions(config, answers.questions)]
    return tuple(Aspect(key=question.key, text=question.text) for question in chosen)


def _p_yes(config: DetectorConfig, answers: Answers | None, ids: Sequence[str]) -> Tensor:
    """p(yes) [N, Q] of the questions that are learned; no columns where nothing is."""
    if answers is None:
        return torch.zeros(len(ids), 0)
    columns = chosen_questions(config, answers.questions)
    return torch.from_numpy(expit(log_odds_by_id(answers, ids)[:, columns]))


def _require_dataset(answers: Answers, dataset: DetectionDataset, names: Sequence[str]) -> None:
    if answers.dataset not in names:
        raise ExamplesInvalid(
            f"these answers are about dataset '{answers.dataset}', not '{names[0]}'; "
            f"ask the teacher about '{dataset.name}' or open that dataset under the other name"
        )


def _require_ids(config: DetectorConfig, answers: Answers, ids: Sequence[str], what: str) -> None:
    known = set(answers.image_ids)
    missing = [one for one in ids if one not in known]
    if missing and (config.missing_answers == "refuse" or len(missing) == len(ids)):
        raise ExamplesInvalid(
            f"there are no answers about {len(missing)} of {len(ids)} {what} of the training images, e.g. {missing[0]};"
            f" ask the teacher about them, or leave them out by --set missing_answers=drop"
        )
