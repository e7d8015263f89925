"""The known answers about a shard's images, and those still missing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.answers.integrity import LOWEST, is_answer
from storage.answers.reuse import KnownAnswers
from storage.answers.schema import ShardAnswers, StoredShard
from storage.answers.shards import Shard
from storage.errors import RunFailed
from storage.questions import Option, QuestionSet
from teacher.engines.base import ImageRefused
from teacher.engines.config import ResolvedTeacher
from teacher.engines.presets import display_name
from teacher.extraction.failures import NOT_ASKED
from teacher.extraction.reading import ReadImage

Answers = NDArray[np.float32]
# Images, or texts about classes, and questions to yes and no [I, Q], like `TeacherEngine.answer`.
Ask = Callable[[Sequence[Any], Sequence[Any]], tuple[Answers, Answers]]


class AnswersRefused(RunFailed):
    """A teacher's answers are not log-probabilities: none of them is kept. The message names the teacher."""


class ShardRows:
    """The first images of a shard, in order, with their answers, from which a later attempt continues.

    One thread adds images, another may call `to_answers` meanwhile. `part` holds the rows written by a worker that
    failed: the answers about its first `stored` images.
    """

    def __init__(self, shard: Shard, questions: QuestionSet) -> None:
        self.shard = shard
        self.questions = questions
        self.images: list[ReadImage] = []
        self.yes = np.full((len(shard.records), len(questions)), np.nan, np.float32)
        self.no = np.full_like(self.yes, np.nan)
        self.asked = self.images_asked = self.reused = 0
        self.part: KnownAnswers | None = None
        self.stored = 0
        self.is_written = False
        self.writing = threading.Lock()

    def go_on_from(self, stored: StoredShard, dataset: str) -> None:
        """Use the rows written by a worker that failed as known answers."""
        self.part = KnownAnswers(datasets=[dataset])
        self.part.add(stored)
        self.stored = sum(error != NOT_ASKED for error in stored.answers.errors)

    def recall(self, image: ReadImage, row: int, known: Sequence[KnownAnswers]) -> ReadImage:
        """Fill in the known answers about an image; one that cannot be read now keeps its previous ones."""
        digest = image.sha256 if image.error is None else _digest_before(image, known)
        if digest is not None:
            for answers in known:
                self.reused += answers.fill(digest, self.questions.reuse_keys, self.yes[row], self.no[row])
            if image.error is not None and not np.isnan(self.yes[row]).any():
                return replace(image, sha256=digest, error=None)
        return image

    def ask(self, images: Sequence[ReadImage], ask: Ask, teacher: ResolvedTeacher) -> None:
        """Add the next images, and ask for their missing answers.

        Raises the errors of `ask` except ImageRefused, and AnswersRefused.
        """
        first, images = len(self.images), list(images)
        for missing_Q, indices in _same_gaps(images, self.yes[first:]):
            columns = np.flatnonzero(missing_Q)
            questions = [self.questions.questions[column].asked for column in columns]
            answered = _ask(ask, [images[index] for index in indices], questions)
            for index, (image, yes_Q, no_Q) in zip(indices, answered, strict=True):
                yes_Q, no_Q = _checked(image, yes_Q, no_Q, teacher)
                images[index] = image
                self.yes[first + index, columns], self.no[first + index, columns] = yes_Q, no_Q
                self.images_asked += not image.error
                self.asked += 0 if image.error else len(columns)
        # Free their pixels.
        self.images += [replace(image, pixels=None) for image in images]

    def to_answers(self, rest: str = "") -> ShardAnswers:
        """Return the shard's rows; `rest` is the error of images that have not been added."""
        images, records = list(self.images), self.shard.records
        yes, no = self.yes.copy(), self.no.copy()
        images += [ReadImage(record, None, None, rest) for record in records[len(images) :]]
        failed = [image.error is not None for image in images]
        yes[failed] = no[failed] = np.nan
        return ShardAnswers(
            records=records,
            image_sha256=[image.sha256 for image in images],
            errors=[image.error for image in images],
            yes=yes,
            no=no,
        )


def _digest_before(image: ReadImage, known: Sequence[KnownAnswers]) -> str | None:
    """Return the previous digest of an image that cannot be read now but could be before; None for others."""
    if image.sha256 is not None or image.gone:
        return None
    return next((digest for answers in known if (digest := answers.digest_of(image.record)) is not None), None)


def _checked(image: ReadImage, yes_Q: Answers, no_Q: Answers, teacher: ResolvedTeacher) -> tuple[Answers, Answers]:
    """Return the answers of a teacher. Raises AnswersRefused if one of them is not a log-probability."""
    yes_Q, no_Q = (np.where(np.isneginf(values), np.float32(LOWEST), values) for values in (yes_Q, no_Q))
    wrong_Q = ~(is_answer(yes_Q) & is_answer(no_Q))
    if image.error is None and wrong_Q.any():
        first = int(np.flatnonzero(wrong_Q)[0])
        raise AnswersRefused(
            f"teacher {display_name(teacher.config.model)} answered yes {yes_Q[first]:g}, no {no_Q[first]:g} about "
            f"'{image.record.image_id}': no log-probabilities; its shard is not written. Try --dtype float32, another "
            "--engine or another teacher, then run the same command again"
        )
    return yes_Q, no_Q


def _same_gaps(chunk: Sequence[ReadImage], yes: Answers) -> Iterable[tuple[NDArray[np.bool_], list[int]]]:
    """Group the chunk's images that miss the same answers, to be asked together: (missing [Q], their indices)."""
    groups: dict[bytes, list[int]] = {}
    for index, image in enumerate(chunk):
        missing = np.isnan(yes[index])
        if image.error is None and missing.any():
            groups.setdefault(missing.tobytes(), []).append(index)
    return [(np.frombuffer(missing, np.bool_), indices) for missing, indices in groups.items()]


def _ask(
    ask: Ask, images: Sequence[ReadImage], questions: Sequence[str | Option]
) -> list[tuple[ReadImage, Answers, Answers]]:
    """Return every image with its answers [Q]; one that the teacher refuses gets the reason, and the others are asked
    again."""
    images = list(images)
    nothing = np.full(len(questions), np.nan, np.float32)
    while True:
        good = [index for index, image in enumerate(images) if image.error is None]
        pixels = [image.pixels for image in images if image.pixels is not None]
        try:
            yes, no = ask(pixels, questions) if good else (nothing[None], nothing[None])
        except ImageRefused as refusal:
            index = good[refusal.index]
            images[index] = replace(images[index], pixels=None, error=f"teacher refuses it: {refusal.reason}")
            continue
        place = {index: row for row, index in enumerate(good)}
        return [
            (image, yes[place[index]], no[place[index]]) if index in place else (image, nothing, nothing)
            for index, image in enumerate(images)
        ]
