"""Ask about one shard: read and decode its images, ask, and write the shard; nothing is asked twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import replace

import numpy as np
from PIL import Image

from storage.answers.damage import DirectoryChanged
from storage.answers.reuse import KnownAnswers
from storage.answers.schema import AnswerHeader, ShardAnswers, StoredShard
from storage.answers.writing import write_patiently
from storage.errors import AspectsError, RunFailed
from storage.images.unreachable import require_reachable
from teacher.engines.config import ResolvedTeacher
from teacher.extraction import SHARD_SIZE
from teacher.extraction.comparison import READERS
from teacher.extraction.failures import NOT_ASKED
from teacher.extraction.jobs import Extraction, ShardJob, ShardSummary
from teacher.extraction.plan import ExtractionPlan, plan_extraction
from teacher.extraction.reading import ReadImage, read_ahead, read_image
from teacher.extraction.rows import AnswersRefused, Ask, ShardRows

__all__ = [
    "READERS",
    "SHARD_SIZE",
    "AnswersRefused",
    "Extraction",
    "ExtractionPlan",
    "ReadImage",
    "ShardSummary",
    "ask_shard",
    "plan_extraction",
    "read_image",
    "write_begun",
]

# Minimum number of answers per call, so that the engine does not wait between calls: few questions, many images.
PAIRS_AT_ONCE = 1600
PIXELS_AT_ONCE = 64_000_000  # and the maximum number of pixels in memory

Progress = Callable[[int], None]  # the images of the shard that are done so far


class AskingStopped(RunFailed):
    """The worker was stopped and asks nothing more. Another worker may continue."""

    may_pass = True


def ask_shard(
    job: ShardJob,
    teacher: ResolvedTeacher,
    ask: Ask,
    readers: Executor,
    rows: ShardRows,
    progress: Progress,
    stopped: threading.Event,
) -> ShardSummary:
    """Ask for the missing answers about the shard's images, and write the shard.

    `ask` is called for missing answers; `readers` are the threads that read and decode. An image that cannot be read,
    decoded or processed by the model gets its reason in `error` and no answers; one that cannot be read now but could
    be before keeps its answers. Errors of the teacher are raised and nothing is written. `rows` holds the answers of
    previous attempts, and collects those of this one. Writing is retried without asking again.

    Raises the errors of `ask` except ImageRefused, AnswersRefused, AskingStopped, ImagesUnreachable,
    StorageUnavailable, and DirectoryChanged if another run has written a different shard in its place.
    """
    if not rows.images and job.directory.has_changed(job.shard.file_name):
        stored = _stored_before(job)
        if NOT_ASKED not in stored.answers.errors:
            return _summary_of(job, stored)
        rows.go_on_from(stored, job.header.dataset)
    known = [job.known]
    if rows.part is not None:
        known = [rows.part, *known]
        job = replace(job, directory=job.directory.as_seen())
    decode_seconds = _ask_images(job, teacher, ask, readers, rows, known, progress, stopped)
    answers = rows.to_answers()
    started = time.perf_counter()
    with rows.writing:
        write_patiently(lambda: _write(job, answers), job.path, stopped)
        rows.is_written = True
    return ShardSummary(
        index=job.shard.index,
        images=len(rows.images),
        images_asked=rows.images_asked,
        errors=sum(error is not None for error in answers.errors),
        asked=rows.asked,
        reused=rows.reused,
        decode_seconds=decode_seconds,
        write_seconds=time.perf_counter() - started,
    )


def write_begun(job: ShardJob, rows: ShardRows) -> None:
    """Write the answers of an unfinished shard, so that the next run asks only for the rest.

    An existing shard from before the run stays: it may hold answers about images that this run has not reached. Errors
    of writing are ignored: the run is already ending with an earlier error.
    """
    if job.shard.file_name in (job.directory.seen or {}):
        return
    with rows.writing, suppress(AspectsError, OSError):
        answers = rows.to_answers(rest=NOT_ASKED)
        answered = any(error is None for error in answers.errors)
        if not answered or rows.is_written or len(rows.images) <= rows.stored:
            return
        directory = job.directory.as_seen() if rows.part else job.directory
        directory.write_shard(job.shard, _header_of(job, answers), answers)
        rows.stored = len(rows.images)


def _ask_images(
    job: ShardJob,
    teacher: ResolvedTeacher,
    ask: Ask,
    readers: Executor,
    rows: ShardRows,
    known: Sequence[KnownAnswers],
    progress: Progress,
    stopped: threading.Event,
) -> float:
    """Continue `rows` to the shard's last image; return the seconds of decoding."""
    waiting: list[ReadImage] = []
    decode_seconds = 0.0
    records, config = job.shard.records, teacher.config
    first, max_pixels = len(rows.images), config.max_pixels
    for chunk in read_ahead(records, first, job.dataset, max_pixels, readers, rows.settled, draft=config.draft):
        if stopped.is_set():
            raise AskingStopped("the run was stopped")
        recalled = [
            rows.recall(image, row, known) for row, image in enumerate(chunk, start=len(rows.images) + len(waiting))
        ]
        require_reachable([image.passing for image in recalled])
        waiting += recalled
        decode_seconds += sum(image.seconds for image in chunk)
        is_last = len(rows.images) + len(waiting) == len(records)
        if is_last or _are_enough(waiting, rows):
            rows.ask(waiting, ask, teacher)
            progress(len(rows.images))
            waiting = []
    return decode_seconds


def _write(job: ShardJob, answers: ShardAnswers) -> None:
    try:
        job.directory.write_shard(job.shard, _header_of(job, answers), answers)
    except DirectoryChanged:
        # Was it written by our request, whose reply was lost?
        stored = job.directory.valid_shard(job.shard, job.header)
        if stored is None or not np.array_equal(stored.yes, answers.yes, equal_nan=True):
            raise


def _header_of(job: ShardJob, answers: ShardAnswers) -> AnswerHeader:
    """Return the header of a shard's file: partial also where an image of which some pairs were asked before cannot be
    read now."""
    answered = np.array([error is None for error in answers.errors], np.bool_)
    gaps = np.isnan(answers.yes[answered]).any()
    return replace(job.header, partial=True) if gaps else job.header


def _stored_before(job: ShardJob) -> StoredShard:
    """Return the shard in the store if it is not the one seen by the plan. Raises DirectoryChanged."""
    stored = job.directory.find_shard(job.shard, job.header)
    if stored is None:
        raise DirectoryChanged(
            f"another run has written {job.path} since this one began; run the same command again to go on from there"
        )
    return stored


def _summary_of(job: ShardJob, stored: StoredShard) -> ShardSummary:
    """Return the summary of a shard that a previous attempt wrote without being able to report it."""
    return ShardSummary(
        index=job.shard.index,
        images=len(job.shard.records),
        images_asked=0,
        errors=sum(error is not None for error in stored.answers.errors),
        asked=0,
        reused=0,
        decode_seconds=0.0,
        write_seconds=0.0,
    )


def _are_enough(images: Sequence[ReadImage], rows: ShardRows) -> bool:
    """Return whether the pending questions about the next `images`, or their pixels in memory, are enough for a
    call."""
    first = len(rows.images)
    pairs = sum(
        int(rows.missing(first + index).sum()) for index, image in enumerate(images) if image.pixels is not None
    )
    pixels = sum(image.pixels.width * image.pixels.height for image in images if isinstance(image.pixels, Image.Image))
    return pairs >= PAIRS_AT_ONCE or pixels >= PIXELS_AT_ONCE
