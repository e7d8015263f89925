"""Finish an extraction: check that every shard is present and valid, and write the manifest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from storage.answers.damage import AnswersDamaged
from storage.answers.header import COMPACTED_VERSION
from storage.answers.image_stamps import write_image_stamps
from storage.answers.integrity import FIELDS_KEY
from storage.answers.manifest import is_compacted
from storage.answers.replaced import remove_copies
from storage.answers.reuse import KnownAnswers
from storage.answers.schema import AnswerHeader
from storage.answers.shards import Shard
from storage.answers.store import AnswerDirectory
from storage.answers.writing import write_patiently
from storage.errors import RunFailed, StorageUnavailable
from teacher.extraction.plan import ExtractionPlan
from teacher.extraction.prepare import prepare_directory
from teacher.extraction.stored import StoredFile

Whole = Mapping[str, StoredFile]  # files by name, in order


class ShardMissing(RunFailed):
    """A shard that should have been written is missing."""


def finish_plan(
    plan: ExtractionPlan,
    facts: Mapping[str, object],
    known: KnownAnswers | None = None,
    *,
    keep_answers: bool = False,
) -> Whole:
    """Complete the directory of a plan and record the stamps of its images.

    Only shards that were missing are read again; an identical manifest is not rewritten. `known` has the answers from
    before the run. Raises the same errors as `read_shard` and `complete_directory`.
    """
    if plan.divided and not plan.missing:
        prepare_directory(plan)
    kept, whole = plan.kept, dict[str, StoredFile]()
    digests = (plan.directory.last_manifest() or {}).get("digests", {})
    for shard in plan.shards:
        name = shard.file_name
        if name in kept:
            whole[name] = file = kept[name]
            if name in plan.written and file.answers is not None:
                plan.comparison.record(plan.start(shard), file.answers, known)
            continue
        stored = plan.directory.find_shard(shard, plan.header, digests.get(name))
        if stored is None:
            raise _missing(plan.directory, name)
        plan.comparison.record(plan.start(shard), stored.answers, known)
        whole[name] = StoredFile.of(name, stored, keep_answers=keep_answers)
    complete_directory(plan.directory, plan.header, plan.shards, whole, facts)
    if plan.missing or plan.comparison.has_changed:
        write_image_stamps(plan.directory, plan.records, plan.comparison.recorded)
    return whole


def finish_directory(
    directory: AnswerDirectory, header: AnswerHeader, shards: Sequence[Shard], facts: Mapping[str, object]
) -> dict[str, str]:
    """Read every shard, write the manifest, and return their `failures_of`.

    Raises ShardMissing if one is missing or not valid, VersionUnsupported, StorageUnavailable and DirectoryChanged.
    """
    digests = (directory.last_manifest() or {}).get("digests", {})
    whole: dict[str, StoredFile] = {}
    for shard in shards:
        name = shard.file_name
        stored = directory.find_shard(shard, header, digests.get(name))
        if stored is None:
            raise _missing(directory, name)
        whole[name] = StoredFile.of(name, stored)
    complete_directory(directory, header, shards, whole, facts)
    return failures_of(whole.values())


def _missing(directory: AnswerDirectory, name: str) -> ShardMissing:
    return ShardMissing(f"shard {directory.path}/{name} is missing; run the extraction again")


def complete_directory(
    directory: AnswerDirectory,
    header: AnswerHeader,
    shards: Sequence[Shard],
    whole: Whole,
    facts: Mapping[str, object],
) -> None:
    """Write the manifest, unless it has the same shards, digests and facts already, and remove copies of replaced ones.

    Raises DirectoryChanged if another run has added shards: the directory then stays incomplete.
    """
    splits = dict.fromkeys(split for file in whole.values() for split in file.splits)
    counted = {"splits": list(splits), "errors": len(failures_of(whole.values()))}
    digests = {name: file.digest for name, file in whole.items()}
    sizes = {shard.file_name: len(shard.records) for shard in shards}
    if not _is_complete(directory, header, {**counted, **facts, "shards": sizes, "digests": digests}):
        found = {**counted, "answer_mass": _answer_mass(whole.values()), **facts}
        write_patiently(lambda: directory.complete(header, shards, found, digests), directory.manifest_path)
    with suppress(OSError, StorageUnavailable):  # the next run removes them
        remove_copies(directory)


def failures_of(whole: Iterable[StoredFile]) -> dict[str, str]:
    """Return the error of each image without answers, by image id."""
    return {image_id: error for file in whole for image_id, error in file.errors.items()}


def _is_complete(directory: AnswerDirectory, header: AnswerHeader, facts: Mapping[str, object]) -> bool:
    """Return whether the manifest matches, and there are no other shards.

    Library versions are not compared: they are those of the run that wrote it.
    """
    try:
        manifest = directory.manifest()
    except AnswersDamaged:
        return False
    if manifest is None or not {"answer_mass", FIELDS_KEY} <= manifest.keys():
        return False
    if directory.shard_files() != list(manifest["shards"]):
        return False
    expected = json.loads(json.dumps({**header.to_json(), **facts, "libraries": manifest["libraries"]}))
    if any(map(is_compacted, manifest["shards"])):
        expected["schema_version"] = COMPACTED_VERSION
    if manifest.get("partial", False) != header.partial:
        return False
    return all(manifest.get(name) == value for name, value in expected.items())


def _answer_mass(whole: Iterable[StoredFile]) -> float:
    """Return the mean probability of yes and no together; 0 without any answers."""
    files = list(whole)
    return sum(file.mass for file in files) / max(1, sum(file.answered for file in files))
