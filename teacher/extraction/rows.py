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
from teacher.extraction.failures import NOT_ASKED, is_for_now
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

    def __init__(
        self,
        shard: Shard,
        questions: QuestionSet,
        wanted: NDArray[np.bool_] | None = None,
        before: ShardAnswers | None = None,
    ) -> None:
        """`wanted` and `before` as in `ShardJob`."""
        self.shard = shard
        self.questions = questions
        self.wanted = np.ones((len(shard.records), len(questions)), np.bool_) if wanted is None else wanted
        self.before = before
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

    def missing(self, row: int) -> NDArray[np.bool_]:
        """Return the questions of an image that have to be asked, [Q]."""
        return self.wanted[row] & np.isnan(self.yes[row])

    def settled(self, row: int) -> ReadImage | None:
        """Return an image of which no pair has to be asked, without reading it; None for others."""
        record, before = self.shard.records[row], self.before
        if before is None:
            return None if self.wanted[row].any() else ReadImage(record, None, None, None)
        error = before.errors[row]
        if error is None and (self.wanted[row] & np.isnan(before.yes[row])).any():
            return None
        if error is not None and is_for_now(error):
            return None
        self._keep(row)
        return ReadImage(record, before.image_sha256[row], None, error, gone=True)

    def recall(self, image: ReadImage, row: int, known: Sequence[KnownAnswers]) -> ReadImage:
        """Fill in the known answers about an image; one that cannot be read now keeps its previous ones."""
        if image.error is None and image.pixels is None:  # settled
            return image
        stored = None
        if self.before is not None and self.before.errors[row] is None:
            stored = self.before.image_sha256[row]
        digest = image.sha256 if image.error is None else _digest_before(image, known, stored)
        if digest is not None:
            if digest == stored:
                self._keep(row)
            for answers in known:
                self.reused += answers.fill(digest, self.questions.reuse_keys, self.yes[row], self.no[row])
            # A partial row keeps its answers: what is wanted of it is asked by the next run.
            if image.error is not None and (digest == stored or not self.missing(row).any()):
                return replace(image, sha256=digest, error=None, passing=None)
        return image

    def _keep(self, row: int) -> None:
        """Take over a row of the stored shard."""
        assert self.before is not None
        self.yes[row], self.no[row] = self.before.yes[row], self.before.no[row]

    def ask(self, images: Sequence[ReadImage], ask: Ask, teacher: ResolvedTeacher) -> None:
        """Add the next images, and ask for their missing answers.

        Raises the errors of `ask` except ImageRefused, and AnswersRefused.
        """
        first, images = len(self.images), list(images)
        for missing_Q, indices in self._same_gaps(images):
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

    def _same_gaps(self, images: Sequence[ReadImage]) -> Iterable[tuple[NDArray[np.bool_], list[int]]]:
        """Group the next images that miss the same answers, to be asked together: (missing [Q], their indices)."""
        groups: dict[bytes, list[int]] = {}
        for index, image in enumerate(images):
            missing = self.missing(len(self.images) + index)
            if image.pixels is not None and image.error is None and missing.any():
                groups.setdefault(missing.tobytes(), []).append(index)
        return [(np.frombuffer(missing, np.bool_), indices) for missing, indices in groups.items()]

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


def _digest_before(image: ReadImage, known: Sequence[KnownAnswers], stored: str | None) -> str | None:
    """Return the previous digest of an image that cannot be read now but could be before, `stored` in its row or known;
    None for others."""
    if image.sha256 is not None or image.gone:
        return None
    if stored is not None:
        return stored
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
