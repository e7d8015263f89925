"""Finish an extraction: check that every shard is present and valid, and write the manifest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from storage.answers.damage import AnswersDamaged
from storage.answers.image_stamps import write_image_stamps
from storage.answers.integrity import FIELDS_KEY
from storage.answers.reuse import KnownAnswers
from storage.answers.schema import AnswerHeader, StoredShard
from storage.answers.shards import Shard, shard_digest
from storage.answers.store import AnswerDirectory
from storage.answers.writing import write_patiently
from storage.errors import RunFailed
from teacher.engines.answer_mass import total_mass
from teacher.extraction.plan import ExtractionPlan

Whole = Mapping[str, StoredShard]  # shards by file name, in order


class ShardMissing(RunFailed):
    """A shard that should have been written is missing."""


def finish_plan(plan: ExtractionPlan, facts: Mapping[str, object], known: KnownAnswers | None = None) -> Whole:
    """Complete the directory of a plan and record the stamps of its images.

    Only shards that were missing are read again; an identical manifest is not rewritten. `known` has the answers from
    before the run. Raises the same errors as `read_shards` and `complete_directory`.
    """
    whole = read_shards(plan.directory, plan.header, plan.shards, plan.kept)
    complete_directory(plan.directory, plan.header, plan.shards, whole, facts)
    stamps = plan.comparison.to_record((shard.answers for shard in whole.values()), known)
    if plan.missing or stamps != plan.comparison.recorded:
        write_image_stamps(plan.directory, stamps)
    return whole


def finish_directory(
    directory: AnswerDirectory, header: AnswerHeader, shards: Sequence[Shard], facts: Mapping[str, object]
) -> dict[str, str]:
    """Read every shard, write the manifest, and return their `failures_of`. Raises the same errors as `finish_plan`."""
    whole = read_shards(directory, header, shards, {})
    complete_directory(directory, header, shards, whole, facts)
    return failures_of(whole.values())


def read_shards(directory: AnswerDirectory, header: AnswerHeader, shards: Sequence[Shard], kept: Whole) -> Whole:
    """Return all shards, reading those that are not `kept`.

    Raises ShardMissing if one is missing or not valid, VersionUnsupported and StorageUnavailable.
    """
    digests = (directory.last_manifest() or {}).get("digests", {})
    whole: dict[str, StoredShard] = {}
    for shard in shards:
        name = shard.file_name
        stored = kept.get(name) or directory.find_shard(shard, header, digests.get(name))
        if stored is None:
            raise ShardMissing(f"shard {directory.path}/{name} is missing; run the extraction again")
        whole[name] = stored
    return whole


def complete_directory(
    directory: AnswerDirectory,
    header: AnswerHeader,
    shards: Sequence[Shard],
    whole: Whole,
    facts: Mapping[str, object],
) -> None:
    """Write the manifest, unless it has the same shards, digests and facts already.

    Raises DirectoryChanged if another run has added shards: the directory then stays incomplete.
    """
    splits = dict.fromkeys(record.split for stored in whole.values() for record in stored.answers.records)
    counted = {"splits": list(splits), "errors": len(failures_of(whole.values()))}
    digests = {name: shard_digest(stored) for name, stored in whole.items()}
    sizes = {shard.file_name: len(shard.records) for shard in shards}
    if _is_complete(directory, header, {**counted, **facts, "shards": sizes, "digests": digests}):
        return
    found = {**counted, "answer_mass": _answer_mass(whole.values()), **facts}
    write_patiently(lambda: directory.complete(header, shards, found, digests), directory.manifest_path)


def failures_of(whole: Iterable[StoredShard]) -> dict[str, str]:
    """Return the error of each image without answers, by image id."""
    return {
        record.image_id: error
        for stored in whole
        for record, error in zip(stored.answers.records, stored.answers.errors, strict=True)
        if error is not None
    }


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
    return all(manifest.get(name) == value for name, value in expected.items())


def _answer_mass(whole: Iterable[StoredShard]) -> float:
    """Return the mean probability of yes and no together; 0 without any answers."""
    mass, answered = 0.0, 0
    for stored in whole:
        found = total_mass(stored.answers.yes, stored.answers.no)
        mass, answered = mass + float(np.nansum(found)), answered + int(np.isfinite(found).sum())
    return mass / max(1, answered)
