"""Asking: dataset and questions in, complete shards of answers out, nothing asked twice."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from storage.damage import DirectoryChanged
from storage.datasets.base import ImageDataset, ImageRecord
from storage.errors import RunFailed, StorageUnavailable
from storage.images import ImageUnreadable, decode_image, shrink
from storage.integrity import LOWEST, is_answer
from storage.reuse import KnownAnswers
from storage.schema import AnswerHeader, ShardAnswers
from storage.store import AnswerDirectory, Shard, shard_digest
from storage.writing import write_patiently
from teacher.answer_mass import total_mass
from teacher.config import ResolvedTeacher
from teacher.engine import ImageRefused, TeacherEngine
from teacher.failures import UNREADABLE_NOW
from teacher.known import display_name
from teacher.planning import GONE, READERS, SHARD_SIZE, ExtractionPlan, plan_extraction

__all__ = [
    "READERS",
    "SHARD_SIZE",
    "ExtractionPlan",
    "Progress",
    "ReadImage",
    "ShardMissing",
    "ShardSummary",
    "ask_shard",
    "finish_directory",
    "plan_extraction",
    "read_image",
]

CHUNK = 32  # images read ahead
# What an engine is given in one go at least, so that it is not kept waiting between: few questions, many images.
PAIRS_AT_ONCE = 1600
PIXELS_AT_ONCE = 64_000_000  # and what is kept in memory for it at most

Progress = Callable[[int, int], None]  # images and questions answered since the last call


class AnswersRefused(RunFailed):
    """A teacher's answers are no log-probabilities: nothing of them is kept. The message says whose."""


class ShardMissing(RunFailed):
    """A shard that should have been written is not there."""


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


@dataclass(frozen=True, slots=True)
class ReadImage:
    """An image of the dataset: its digest and pixels as far as there are any, and else the reason.

    `gone` says that it is not there at all; another one that cannot be read may well be readable later.
    """

    record: ImageRecord
    sha256: str | None
    pixels: Image.Image | None
    error: str | None
    seconds: float = 0.0  # of reading and decoding
    gone: bool = False


def ask_shard(
    shard: Shard,
    plan: ExtractionPlan,
    dataset: ImageDataset,
    teacher: ResolvedTeacher,
    engine: Callable[[], TeacherEngine],
    known: KnownAnswers,
    progress: Progress | None = None,
    stopped: threading.Event | None = None,
) -> ShardSummary:
    """Ask what nobody has answered about the shard's images yet, and write the shard.

    `engine` is called when the first answer is missing, so that a model is loaded only if there is something to ask.
    An image that cannot be read, decoded or taken by the model gets its reason in `error` and no answers; one that
    cannot be read now and could be before keeps those it has. What fails for the teacher's sake is raised and nothing
    written: the images are not to blame. A shard that cannot be written is written again where that may help, unless
    `stopped`; it is never asked again.

    Raises what `TeacherEngine.answer` and `engine` do but ImageRefused, AnswersRefused, StorageUnavailable, and
    DirectoryChanged where another run has written another shard in its place.
    """
    if plan.directory.has_changed(shard.file_name):
        return _written_before(shard, plan)
    questions = plan.header.questions
    rows: list[ReadImage] = []
    yes = np.full((len(shard.records), len(questions)), np.nan, np.float32)
    no = np.full_like(yes, np.nan)
    asked = images_asked = reused = first = 0
    for chunk in _read_ahead(shard.records, dataset, teacher.config.max_pixels):
        for row, image in enumerate(chunk, start=len(rows)):
            digest = image.sha256 if image.error is None else _digest_before(image, known)
            if digest is not None:
                reused += known.fill(digest, questions.texts, yes[row], no[row])
                if image.error is not None and not np.isnan(yes[row]).any():
                    image = replace(image, sha256=digest, error=None)
            rows.append(image)
        waiting = rows[first:]
        if len(rows) < len(shard.records) and not _are_enough(waiting, yes[first:]):
            continue
        for missing_Q, indices in _same_gaps(waiting, yes[first:]):
            columns = np.flatnonzero(missing_Q)
            texts = [questions.texts[column] for column in columns]
            answered = _ask(engine(), [waiting[index] for index in indices], texts)
            for index, (image, yes_Q, no_Q) in zip(indices, answered, strict=True):
                yes_Q, no_Q = _checked(image, yes_Q, no_Q, teacher)
                rows[first + index] = image
                yes[first + index, columns], no[first + index, columns] = yes_Q, no_Q
                images_asked += not image.error
                asked += 0 if image.error else len(columns)
        # Their pixels are needed no more.
        rows[first:] = [replace(row, pixels=None) for row in rows[first:]]
        first = len(rows)
        if progress:
            progress(len(waiting), len(waiting) * len(questions))
    failed = [row.error is not None for row in rows]
    yes[failed] = no[failed] = np.nan
    answers = ShardAnswers(
        records=shard.records,
        image_sha256=[row.sha256 for row in rows],
        errors=[row.error for row in rows],
        yes=yes,
        no=no,
    )
    started = time.perf_counter()
    write_patiently(lambda: _write(shard, plan, answers), f"{plan.directory.path}/{shard.file_name}", stopped)
    return ShardSummary(
        index=shard.index,
        images=len(rows),
        images_asked=images_asked,
        errors=sum(failed),
        asked=asked,
        reused=reused,
        decode_seconds=sum(row.seconds for row in rows),
        write_seconds=time.perf_counter() - started,
    )


def finish_directory(
    directory: AnswerDirectory, header: AnswerHeader, shards: Sequence[Shard], facts: Mapping[str, object]
) -> dict[str, str]:
    """Check every shard, write the manifest, and return the reason of each image that has no answers, by image id.

    Raises ShardMissing where a shard is not there, and DirectoryChanged where another run has added some: the directory
    then stays incomplete.
    """
    failures: dict[str, str] = {}
    splits: dict[str, None] = {}
    digests: dict[str, str] = {}
    mass, answered = 0.0, 0
    listed = (directory.last_manifest() or {}).get("digests", {})
    for shard in shards:
        stored = directory.find_shard(shard, header, listed.get(shard.file_name))
        if stored is None:
            raise ShardMissing(f"shard {directory.path}/{shard.file_name} is missing; run the extraction again")
        digests[shard.file_name] = shard_digest(stored)
        shard_mass = total_mass(stored.answers.yes, stored.answers.no)
        mass, answered = mass + float(np.nansum(shard_mass)), answered + int(np.isfinite(shard_mass).sum())
        for record, error in zip(stored.answers.records, stored.answers.errors, strict=True):
            splits[record.split] = None
            if error is not None:
                failures[record.image_id] = error
    facts = {"splits": list(splits), "errors": len(failures), "answer_mass": mass / max(1, answered), **facts}
    write_patiently(lambda: directory.complete(header, shards, facts, digests), directory.manifest_path)
    return failures


def read_image(dataset: ImageDataset, record: ImageRecord, max_pixels: int | None) -> ReadImage:
    """The image's digest and pixels, or the reason why there are none."""
    started = time.perf_counter()
    try:
        data = dataset.read(record.image_id)
    except (OSError, StorageUnavailable) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        gone = isinstance(error, GONE)
        return ReadImage(record, None, None, f"{'cannot be read' if gone else UNREADABLE_NOW}: {why}", gone=gone)
    except ImageUnreadable as error:  # of a part of an image
        return ReadImage(record, None, None, str(error), gone=True)
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        pixels = shrink(decode_image(data), max_pixels)
        return ReadImage(record, sha256, pixels, None, time.perf_counter() - started)
    except ImageUnreadable as error:
        return ReadImage(record, sha256, None, str(error))


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


def _read_ahead(
    records: Sequence[ImageRecord], dataset: ImageDataset, max_pixels: int | None
) -> Iterator[list[ReadImage]]:
    """Chunks of decoded images; the next one is decoded while the caller has the engine work on this one."""
    with ThreadPoolExecutor(READERS) as readers:

        def submit(start: int) -> list[Future[ReadImage]]:
            chunk = records[start : start + CHUNK]
            return [readers.submit(read_image, dataset, record, max_pixels) for record in chunk]

        ahead = submit(0)
        for start in range(CHUNK, len(records) + CHUNK, CHUNK):
            current, ahead = ahead, submit(start)
            yield [future.result() for future in current]


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
