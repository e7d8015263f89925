"""Answers, images and corrections that the tests of corrections need."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_expit

from storage.answers.read import Answers
from storage.corrections import Correction, CurrentCorrections, current_corrections
from storage.corrections.queue import Queue
from storage.datasets.base import FileDataset, ImageRecord
from storage.questions import AspectQuestion, QuestionSet
from tests.storage.samples import QUESTIONS

CLASSES = ("ant", "bee")


def dataset(train: int = 4, test: int = 2) -> FileDataset:
    """Images of two classes in turn; there are no files."""
    records = [
        ImageRecord(
            image_id=f"{split}/{CLASSES[number % 2]}/{number}.png",
            split=split,
            label=number % 2,
            label_name=CLASSES[number % 2],
        )
        for split, count in (("train", train), ("test", test))
        for number in range(count)
    ]
    paths = {record.image_id: Path("/data") / record.image_id for record in records}
    return FileDataset(name="sample", class_names=CLASSES, records=records, places=paths)


def answers(log_odds: NDArray[np.floating], images: FileDataset | None = None) -> Answers:
    """Answers [I, Q] about the first I images."""
    questions = QUESTIONS
    if log_odds.shape[1] != len(questions):
        asked = [AspectQuestion(key=f"q{number}", text=f"Is it {number}?") for number in range(log_odds.shape[1])]
        questions = QuestionSet(tuple(asked))
    records = (images or dataset(train=len(log_odds), test=0)).records[: len(log_odds)]
    return Answers(
        dataset="sample",
        teacher="0123456789ab",
        questions=questions,
        image_ids=tuple(record.image_id for record in records),
        image_sha256=tuple(f"{number:064x}" for number in range(len(records))),
        splits=tuple(record.split for record in records),
        label_names=tuple(record.label_name for record in records),
        errors=(None,) * len(records),
        yes=log_expit(log_odds).astype(np.float32),
        no=log_expit(-log_odds).astype(np.float32),
    )


def label(image_id: str, value: str | None, **more: Any) -> Correction:
    return Correction(image_id=image_id, kind="label", value=value, **more)


def answer(image_id: str, value: str | None, key: str = "has_stripes", **more: Any) -> Correction:
    texts = dict(zip(QUESTIONS.keys, QUESTIONS.texts, strict=True))
    return Correction(image_id=image_id, kind="answer", key=key, text=texts[key], value=value, **more)


def current(*rows: Correction) -> CurrentCorrections:
    return current_corrections(rows)


def checked(
    queue: Queue, truth: NDArray[np.bool_], count: int, before: CurrentCorrections | None = None
) -> CurrentCorrections:
    """The corrections `before`, and the next `count` answers of a queue as a person who knows the truth checks them."""
    before = before or current()
    rows = [
        Correction(
            image_id=item.image_id,
            kind="answer",
            key=item.key,
            text=item.text,
            value="yes" if truth[item.row, item.column] else "no",
            probability=item.probability,
            pool=item.pool,
        )
        for item in queue.next_items(before, count)
    ]
    return current_corrections([*before.answers.values(), *rows])


def truth_as_corrections(given: Answers, truth: NDArray[np.bool_], places: Iterable[int]) -> CurrentCorrections:
    """The true answers at flat `places` of `given`, as if a person had clicked them outside of a queue."""
    rows = []
    for place in places:
        row, column = divmod(int(place), truth.shape[1])
        question = given.questions.questions[column]
        value = "yes" if truth[row, column] else "no"
        rows.append(
            Correction(image_id=given.image_ids[row], kind="answer", key=question.key, text=question.text, value=value)
        )
    return current_corrections(rows)
