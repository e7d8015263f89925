"""Reuse a teacher's earlier answers, by image digest and question (`AspectQuestion.reuse_key`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from storage.answers.damage import AnswersDamaged
from storage.answers.schema import AnswerHeader, ShardAnswers, StoredShard
from storage.answers.store import AnswerDirectory, answer_directories, audits_of
from storage.datasets.base import ImageRecord


@dataclass(frozen=True)
class KnownAnswers:
    """Answers of one teacher, each shard with the columns of its reuse keys and the rows of its image digests.

    `datasets` are those being asked about: only their images are known by id.
    """

    shards: list[tuple[dict[str, int], ShardAnswers]] = field(default_factory=list)
    rows: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    datasets: Collection[str] = ()
    own: list[ShardAnswers] = field(default_factory=list)

    def add(self, stored: StoredShard) -> None:
        number, answers = len(self.shards), stored.answers
        questions = stored.header.questions
        reuse_keys = dict(zip(questions.keys, questions.reuse_keys, strict=True))
        self.shards.append(({reuse_keys[key]: column for column, key in enumerate(stored.keys)}, answers))
        for row, (digest, error) in enumerate(zip(answers.image_sha256, answers.errors, strict=True)):
            if digest is not None and error is None:
                self.rows.setdefault(digest, []).append((number, row))
        if stored.header.dataset in self.datasets:
            self.own.append(answers)

    def fill(self, digest: str, reuse_keys: Sequence[str], yes: NDArray[np.float32], no: NDArray[np.float32]) -> int:
        """Fill gaps (NaN) in `yes` and `no`, each [Q], with known answers about an image; return the number filled."""
        before = int(np.isnan(yes).sum())
        for number, row in self.rows.get(digest, ()):
            columns, answers = self.shards[number]
            for place, key in enumerate(reuse_keys):
                if np.isnan(yes[place]) and (column := columns.get(key)) is not None:
                    yes[place], no[place] = answers.yes[row, column], answers.no[row, column]
        return before - int(np.isnan(yes).sum())

    def digest_of(self, record: ImageRecord) -> str | None:
        """Return the digest that an image of the dataset had when last asked about; None if never."""
        return self._digests.get((record.image_id, record.box))

    @cached_property
    def _digests(self) -> dict[tuple[str, object], str]:
        # Only needed when an image cannot be read.
        return {
            (record.image_id, record.box): digest
            for answers in self.own
            for record, digest, error in zip(answers.records, answers.image_sha256, answers.errors, strict=True)
            if digest is not None and error is None
        }


def known_answers(
    store: str,
    datasets: Collection[str],
    teacher_fingerprint: str,
    reuse_keys: Collection[str] | None = None,
    read: Mapping[str, Mapping[str, StoredShard]] | None = None,
) -> KnownAnswers:
    """Collect the answers of this teacher in the store and its audits, `datasets` first; of all questions, or of
    those with `reuse_keys`.

    Unfinished directories count too. Files that have been `read` (path, then file name) are not read again. Raises
    VersionUnsupported, and StorageUnavailable if something cannot be read now: nothing is asked again because of it.
    """
    known = KnownAnswers(datasets=datasets)
    directories = [
        directory
        for place in (store, audits_of(store))
        for directory in answer_directories(place)
        if f"/teacher={teacher_fingerprint}/" in directory.path
    ]
    for directory in sorted(directories, key=lambda each: _dataset_of(each) not in datasets):
        if read and directory.path in read:
            for stored in read[directory.path].values():
                known.add(stored)
            continue
        if reuse_keys is not None and not _share(directory, reuse_keys):
            continue
        for name in directory.shard_files():
            try:
                known.add(directory.load_shard(name, reuse_keys))
            except (FileNotFoundError, AnswersDamaged):
                continue  # it is asked again
    return known


def _dataset_of(directory: AnswerDirectory) -> str:
    return directory.path.split("/")[-3].removeprefix("dataset=")


def _share(directory: AnswerDirectory, reuse_keys: Collection[str]) -> bool:
    """Return whether the manifest has some of these questions, as far as it can be read."""
    manifest = directory.last_manifest()
    return manifest is None or not set(reuse_keys).isdisjoint(AnswerHeader.from_json(manifest).questions.reuse_keys)
