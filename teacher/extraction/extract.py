"""Asking: dataset and questions in, complete shards of answers out, nothing asked twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from storage.answers.damage import DirectoryChanged
from storage.answers.integrity import LOWEST, is_answer
from storage.answers.reuse import KnownAnswers
from storage.answers.schema import ShardAnswers
from storage.answers.shards import Shard
from storage.answers.writing import write_patiently
from storage.datasets.base import ImageDataset
from storage.errors import RunFailed
from storage.questions import QuestionSet
from teacher.engines.base import ImageRefused, TeacherEngine
from teacher.engines.config import ResolvedTeacher
from teacher.engines.presets import display_name
from teacher.extraction.comparison import READERS
from teacher.extraction.failures import NOT_ASKED
from teacher.extraction.plan import SHARD_SIZE, ExtractionPlan, plan_extraction
from teacher.extraction.reading import ReadImage, read_ahead, read_image

__all__ = [
    "READERS",
    "SHARD_SIZE",
    "ExtractionPlan",
    "Progress",
    "ReadImage",
    "ShardRows",
    "ShardSummary",
    "ask_shard",
    "plan_extraction",
    "read_image",
    "write_begun",
]

# What an engine is given in one go at least, so that it is not kept waiting between: few questions, many images.
PAIRS_AT_ONCE = 1600
PIXELS_AT_ONCE = 64_000_000  # and what is kept in memory for it at most

Progress = Callable[[int, int], None]  # images and questions answered since the last call


class AnswersRefused(RunFailed):
    """A teacher's answers are no log-probabilities: nothing of them is kept. The message says whose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSummary:
    """What became of one shard: images, how many of them could not be asked, answers asked and answers reused.

    `images_asked` are those about which the teacher was asked anything. Seconds of decoding are summed over threads.
    """

    index: int
    images: int
    images_asked: int
    errors: int
    asked: int
    reused: int
    decode_seconds: float
    write_seconds: float


class ShardRows:
    """The images of a shard that have been dealt with so far, in its order, and what the teacher said: what another
    attempt goes on from."""

    def __init__(self, shard: Shard, questions: QuestionSet) -> None:
        self.shard = shard
        self.questions = questions
        self.images: list[ReadImage] = []
        self.yes = np.full((len(shard.records), len(questions)), np.nan, np.float32)
        self.no = np.full_like(self.yes, np.nan)
        self.asked = self.images_asked = self.reused = 0

    def recall(self, image: ReadImage, row: int, known: KnownAnswers) -> ReadImage:
        """Fill in what is known about an image; one that cannot be read now keeps what it had."""
        digest = image.sha256 if image.error is None else _digest_before(image, known)
        if digest is not None:
            self.reused += known.fill(digest, self.questions.texts, self.yes[row], self.no[row])
            if image.error is not None and not np.isnan(self.yes[row]).any():
                return replace(image, sha256=digest, error=None)
        return image

    def ask(self, images: Sequence[ReadImage], engine: Callable[[], TeacherEngine], teacher: ResolvedTeacher) -> None:
        """Ask what is missing about the images behind those that have been dealt with."""
        first, images = len(self.images), list(images)
        for missing_Q, indices in _same_gaps(images, self.yes[first:]):
            columns = np.flatnonzero(missing_Q)
            texts = [self.questions.texts[column] for column in columns]
            answered = _ask(engine(), [images[index] for index in indices], texts)
            for index, (image, yes_Q, no_Q) in zip(indices, answered, strict=True):
                yes_Q, no_Q = _checked(image, yes_Q, no_Q, teacher)
                images[index] = image
                self.yes[first + index, columns], self.no[first + index, columns] = yes_Q, no_Q
                self.images_asked += not image.error
                self.asked += 0 if image.error else len(columns)
        # Their pixels are needed no more.
        self.images += [replace(image, pixels=None) for image in images]

    def to_answers(self, rest: str = "") -> ShardAnswers:
        """The shard; `rest` is the reason of images that have not been dealt with."""
        left = self.shard.records[len(self.images) :]
        images = [*self.images, *(ReadImage(record, None, None, rest) for record in left)]
        failed = [image.error is not None for image in images]
        self.yes[failed] = self.no[failed] = np.nan
        return ShardAnswers(
            records=self.shard.records,
            image_sha256=[image.sha256 for image in images],
            errors=[image.error for image in images],
            yes=self.yes,
            no=self.no,
        )


def ask_shard(
    shard: Shard,
    plan: ExtractionPlan,
    dataset: ImageDataset,
    teacher: ResolvedTeacher,
    engine: Callable[[], TeacherEngine],
    known: KnownAnswers,
    progress: Progress | None = None,
    stopped: threading.Event | None = None,
    rows: ShardRows | None = None,
) -> ShardSummary:
    """Ask what nobody has answered about the shard's images yet, and write the shard.

    `engine` is called when the first answer is missing, so that a model is loaded only if there is something to ask.
    An image that cannot be read, decoded or taken by the model gets its reason in `error` and no answers; one that
    cannot be read now and could be before keeps those it has. What fails for the teacher's sake is raised and nothing
    written: the images are not to blame. `rows` has what an attempt before this one was answered, and then what this
    one was. A shard that cannot be written is written again where that may help, unless `stopped`; it is never asked
    again.

    Raises what `TeacherEngine.answer` and `engine` do but ImageRefused, AnswersRefused, StorageUnavailable, and
    DirectoryChanged where another run has written another shard in its place.
    """
    if plan.directory.has_changed(shard.file_name):
        return _written_before(shard, plan)
    rows = rows or ShardRows(shard, plan.header.questions)
    waiting: list[ReadImage] = []
    decode_seconds = 0.0
    for chunk in read_ahead(shard.records[len(rows.images) :], dataset, teacher.config.max_pixels):
        for image in chunk:
            waiting.append(rows.recall(image, len(rows.images) + len(waiting), known))
        decode_seconds += sum(image.seconds for image in chunk)
        is_last = len(rows.images) + len(waiting) == len(shard.records)
        if is_last or _are_enough(waiting, rows.yes[len(rows.images) :]):
            rows.ask(waiting, engine, teacher)
            if progress:
                progress(len(waiting), len(waiting) * len(rows.questions))
            waiting = []
    answers = rows.to_answers()
    started = time.perf_counter()
    write_patiently(lambda: _write(shard, plan, answers), f"{plan.directory.path}/{shard.file_name}", stopped)
    return ShardSummary(
        index=shard.index,
        images=len(rows.images),
        images_asked=rows.images_asked,
        errors=sum(error is not None for error in answers.errors),
        asked=rows.asked,
        reused=rows.reused,
        decode_seconds=decode_seconds,
        write_seconds=time.perf_counter() - started,
    )


def write_begun(rows: ShardRows, plan: ExtractionPlan) -> None:
    """Write what has been answered of a shard that is not finished, so that the next run asks the rest alone.

    A shard that is there already stays: it may hold answers about images that this run has not come to.
    """
    answered = any(image.error is None for image in rows.images)
    if answered and rows.shard.file_name not in (plan.directory.seen or {}):
        plan.directory.write_shard(rows.shard, plan.header, rows.to_answers(rest=NOT_ASKED))


def _digest_before(image: ReadImage, known: KnownAnswers) -> str | None:
    """The digest of an image that cannot be read now and could be before; None for others."""
    return known.digest_of(image.record) if image.sha256 is None and not image.gone else None


def _checked(
    image: ReadImage, yes_Q: NDArray[np.float32], no_Q: NDArray[np.float32], teacher: ResolvedTeacher
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The answers of a teacher. Raises AnswersRefused where one of them is no log-probability."""
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


def _write(shard: Shard, plan: ExtractionPlan, answers: ShardAnswers) -> None:
    try:
        plan.directory.write_shard(shard, plan.header, answers)
    except DirectoryChanged:
        # By a request of ours whose reply was lost?
        stored = plan.directory.valid_shard(shard, plan.header)
        if stored is None or not np.array_equal(stored.yes, answers.yes, equal_nan=True):
            raise


def _written_before(shard: Shard, plan: ExtractionPlan) -> ShardSummary:
    """Of a shard that an attempt before this one has written, as far as anybody could know."""
    stored = plan.directory.valid_shard(shard, plan.header)
    if stored is None:
        raise DirectoryChanged(
            f"another run has written {plan.directory.path}/{shard.file_name} since this one began; run the same "
            "command again to go on from there"
        )
    return ShardSummary(
        index=shard.index,
        images=len(shard.records),
        images_asked=0,
        errors=sum(error is not None for error in stored.errors),
        asked=0,
        reused=0,
        decode_seconds=0.0,
        write_seconds=0.0,
    )


def _are_enough(images: Sequence[ReadImage], yes: NDArray[np.float32]) -> bool:
    """Whether so much is to be asked about `images`, or so many pixels are held for it, that it is time to ask."""
    pairs = sum(int(np.isnan(yes[index]).sum()) for index, image in enumerate(images) if image.error is None)
    pixels = sum(image.pixels.width * image.pixels.height for image in images if image.pixels is not None)
    return pairs >= PAIRS_AT_ONCE or pixels >= PIXELS_AT_ONCE


def _same_gaps(chunk: Sequence[ReadImage], yes: NDArray[np.float32]) -> Iterable[tuple[NDArray[np.bool_], list[int]]]:
    """Images of the chunk that miss the same answers, to be asked together: (missing [Q], their places)."""
    groups: dict[bytes, list[int]] = {}
    for index, image in enumerate(chunk):
        missing = np.isnan(yes[index])
        if image.error is None and missing.any():
            groups.setdefault(missing.tobytes(), []).append(index)
    return [(np.frombuffer(missing, np.bool_), indices) for missing, indices in groups.items()]


def _ask(
    engine: TeacherEngine, images: Sequence[ReadImage], texts: Sequence[str]
) -> list[tuple[ReadImage, NDArray[np.float32], NDArray[np.float32]]]:
    """Every image with its answers [Q]; one that the teacher refuses comes back with the reason, the others asked."""
    images = list(images)
    nothing = np.full(len(texts), np.nan, np.float32)
    while True:
        good = [index for index, image in enumerate(images) if image.error is None]
        pixels = [image.pixels for image in images if image.pixels is not None]
        try:
            yes, no = engine.answer(pixels, texts) if good else (nothing[None], nothing[None])
        except ImageRefused as refusal:
            index = good[refusal.index]
            images[index] = replace(images[index], pixels=None, error=f"teacher refuses it: {refusal.reason}")
            continue
        place = {index: row for row, index in enumerate(good)}
        return [
            (image, yes[place[index]], no[place[index]]) if index in place else (image, nothing, nothing)
            for index, image in enumerate(images)
        ]
