"""Accuracy of each group of images, class x yes or no to a question, and of the worst one."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from torch import Tensor

from storage.answers.read import Answers
from storage.datasets.base import ImageDataset, ImageRecord
from storage.datasets.scenes.truth import read_truth
from storage.questions import AspectQuestion, QuestionSet, QuestionsInvalid, load_questions
from student.core.examples import ExamplesInvalid, log_odds_by_id

WORST_GROUP = "worst_group"  # the metric
Source = Literal["truth", "answers"]
Answer = Literal["no", "yes"]
ANSWERS: tuple[Answer, ...] = ("no", "yes")


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupScore:
    """Top-1 (0..1) of the images of one class with one answer to a question."""

    key: str
    text: str
    class_name: str
    answer: Answer
    images: int
    top1: float


@dataclass(frozen=True, kw_only=True)
class ImageGroups:
    """The answers of I images to Q questions, 1 (yes), 0 (no) or NaN: `answers` [I, Q]. `source` says whether they are
    the right ones of rendered scenes, or a teacher's: yes where p(yes) is 0.5 or more."""

    questions: tuple[AspectQuestion, ...]
    image_ids: tuple[str, ...]
    answers: NDArray[np.float32]
    source: Source

    def of(self, image_ids: Sequence[str]) -> NDArray[np.float32]:
        """The answers of these images [N, Q], NaN for an image without any."""
        rows = {image_id: row for row, image_id in enumerate(self.image_ids)}
        missing = np.full((1, len(self.questions)), np.nan, dtype=np.float32)
        known = np.concatenate([self.answers, missing])
        return known[[rows.get(image_id, -1) for image_id in image_ids]]

    def digest(self, image_ids: Sequence[str]) -> str:
        """Of questions, source and the answers of these images: what scores depend on."""
        digest = hashlib.sha256(repr((self.source, [question.key for question in self.questions])).encode())
        digest.update(self.of(image_ids).tobytes())
        return digest.hexdigest()[:16]


def find_groups(
    dataset: ImageDataset, records: Sequence[ImageRecord], names: Sequence[str], answers: Answers | None
) -> ImageGroups:
    """The answers to the questions of these `names` (keys or texts) by which `records` are grouped: the right ones of
    rendered scenes, and for other datasets those of a teacher. Raises QuestionsInvalid for a question without answers,
    and ExamplesInvalid where no image of `records` has one."""
    truth = _right_answers(dataset, names, alone=answers is None)
    if truth is not None:
        return truth
    if answers is None:
        raise ExamplesInvalid(
            f"there are no answers about dataset '{dataset.name}' to group images by; name a store that has some"
        )
    chosen = tuple({answers.questions.named(name).key: answers.questions.named(name) for name in names}.values())
    columns = [answers.questions.keys.index(question.key) for question in chosen]
    log_odds = log_odds_by_id(answers, [record.image_id for record in records])[:, columns]
    if np.isnan(log_odds).all():
        split = records[0].split
        raise ExamplesInvalid(
            f"there are no answers about split '{split}' of dataset '{dataset.name}' to group images by; ask about it "
            f"with 'aspects extract --splits {split}'"
        )
    yes = np.where(np.isnan(log_odds), np.float32(np.nan), (log_odds >= 0).astype(np.float32))
    ids = tuple(record.image_id for record in records)
    return ImageGroups(questions=chosen, image_ids=ids, answers=yes, source="answers")


def _right_answers(dataset: ImageDataset, names: Sequence[str], *, alone: bool) -> ImageGroups | None:
    """Those of rendered scenes; None for other images, and where a question is not about scenes. Such a question raises
    QuestionsInvalid if they are `alone`, without answers of a teacher."""
    truth = read_truth(dataset)
    if truth is None:
        return None
    asked: QuestionSet = load_questions(Path("scenes"))
    try:
        chosen = tuple({asked.named(name).key: asked.named(name) for name in names}.values())
    except QuestionsInvalid:
        if alone:
            raise
        return None
    yes = truth.select(pl.col(question.key).cast(pl.Float32) for question in chosen).to_numpy()
    return ImageGroups(questions=chosen, image_ids=tuple(truth["image_id"]), answers=yes, source="truth")


def score_groups(
    groups: ImageGroups,
    image_ids: Sequence[str],
    class_logits_NC: Tensor,
    labels_N: Tensor,
    class_names: Sequence[str],
) -> tuple[GroupScore, ...]:
    """One for each group that has images, by question, class and answer. Images without an answer count for none."""
    right = (class_logits_NC.argmax(dim=1) == labels_N).numpy()
    labels, answers_NQ = labels_N.numpy(), groups.of(image_ids)
    found = []
    for (column, question), (label, class_name), answer in itertools.product(
        enumerate(groups.questions), enumerate(class_names), ANSWERS
    ):
        inside = (labels == label) & (answers_NQ[:, column] == ANSWERS.index(answer))
        if inside.any():
            found.append(
                GroupScore(
                    key=question.key,
                    text=question.text,
                    class_name=class_name,
                    answer=answer,
                    images=int(inside.sum()),
                    top1=float(right[inside].mean()),
                )
            )
    return tuple(found)
