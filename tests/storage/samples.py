"""A few records, questions and answers that most storage tests need."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from storage.answers.schema import AnswerHeader, ShardAnswers
from storage.datasets.base import ImageRecord
from storage.questions import AspectQuestion, QuestionSet

QUESTIONS = QuestionSet(
    (
        AspectQuestion(key="has_stripes", text="Does it have stripes?", group="visual"),
        AspectQuestion(key="is_red", text="Is it red?", group="visual"),
        AspectQuestion(key="is_outside", text="Was this taken outside?"),
    )
)
HEADER = AnswerHeader(
    dataset="sample",
    teacher_fingerprint="0123456789ab",
    teacher={"model": "sample"},
    questions=QUESTIONS,
    libraries={"vllm": "0"},
)


def records(count: int, split: str = "train") -> tuple[ImageRecord, ...]:
    return tuple(
        ImageRecord(image_id=f"{split}/a/{number}.png", split=split, label=0, label_name="a") for number in range(count)
    )


def box_records(count: int) -> tuple[ImageRecord, ...]:
    return tuple(
        ImageRecord(
            image_id=f"train/#.png#{number}", split="train", label=1, label_name="b", box=(0, 1.5, number + 3, 9)
        )
        for number in range(count)
    )


def answers_for(images: Sequence[ImageRecord], *, damaged: int | None = None) -> ShardAnswers:
    """Random but fixed answers; image number `damaged` has none."""
    p_yes = np.random.default_rng(0).uniform(0.01, 0.99, (len(images), len(QUESTIONS)))
    yes, no = np.log(p_yes).astype(np.float32), np.log1p(-p_yes).astype(np.float32)
    errors: list[str | None] = [None] * len(images)
    if damaged is not None:
        yes[damaged] = no[damaged] = np.nan
        errors[damaged] = "file is empty"
    digests = [f"{number:064x}" for number in range(len(images))]
    return ShardAnswers(records=images, image_sha256=digests, errors=errors, yes=yes, no=no)
