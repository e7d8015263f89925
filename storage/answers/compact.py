"""Join consecutive shards in larger files: opening ten thousand small ones takes longer than reading them.

The manifest decides which files count. It is replaced after the joined files were written and before the others are
deleted, so that a killed run leaves a directory that is right.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from storage.answers.directories import answer_directories, audits_of
from storage.answers.header import COMPACTED_VERSION
from storage.answers.integrity import FIELDS_KEY, field_digests
from storage.answers.lease import free
from storage.answers.manifest import is_compacted, span_of
from storage.answers.read import load_listed
from storage.answers.schema import AnswerHeader, ShardAnswers, write_shard
from storage.answers.shards import Shard, shard_digest
from storage.answers.store import AnswerDirectory
from storage.answers.writing import writing
from storage.filesystem import write_whole

SHARDS_IN_FILE = 128
MOST_BYTES = 64_000_000  # of the shards in one file


@dataclass(frozen=True, slots=True, kw_only=True)
class Compacted:
    """A directory that was compacted: the number of its files before and after."""

    directory: AnswerDirectory
    before: int
    after: int


def compact_store(store: str) -> tuple[list[Compacted], list[AnswerDirectory]]:
    """Compact the complete directories of the store and of its audits; return those that changed, and those skipped
    because they are not complete or another run is working on them.

    Raises AnswersDamaged, VersionUnsupported and StorageUnavailable.
    """
    every = [*answer_directories(store), *answer_directories(audits_of(store))]
    changed, done = list[Compacted](), set[str]()
    for directory in free(every):
        if not directory.is_complete():
            continue
        done.add(directory.path)
        before, after = compact(directory)
        if after != before:
            changed.append(Compacted(directory=directory, before=before, after=after))
    return changed, [directory for directory in every if directory.path not in done]


def compact(directory: AnswerDirectory) -> tuple[int, int]:
    """Compact a complete directory, which no other run is working on; return the number of its files before and after.

    The last shard stays as it is: images that are added to the dataset are added to it. Raises the same errors as
    `compact_store`.
    """
    manifest = directory.manifest()
    assert manifest is not None, "the directory is complete"
    sizes, digests = dict[str, int](), dict[str, str]()
    for names in _groups(directory, manifest["shards"]):
        if len(names) == 1:
            sizes[names[0]] = manifest["shards"][names[0]]
            if names[0] in manifest["digests"]:
                digests[names[0]] = manifest["digests"][names[0]]
            continue
        joined = _join(directory, manifest, names)
        sizes[joined.file_name] = len(joined.records)
        digests[joined.file_name] = shard_digest(directory.load_shard(joined.file_name))
    if len(sizes) < len(manifest["shards"]):
        _write_manifest(directory, manifest, sizes, digests)
    with writing(directory.path):
        for name in directory.shard_files():
            if name not in sizes:
                directory.remove_file(f"{directory.path}/{name}")
    return len(manifest["shards"]), len(sizes)


def _groups(directory: AnswerDirectory, sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Yield the files that are joined, in order: consecutive shards of the same size, but the last one."""
    bytes_of = {name: size or 0 for name, (size, _) in directory.stamps().items()}
    group: list[str] = []
    shards = total = rows = 0
    for place, name in enumerate(sizes):
        first, last = span_of(name)
        count, size = last - first + 1, bytes_of.get(name, 0)
        follows = bool(group) and span_of(group[-1])[1] + 1 == first and place < len(sizes) - 1
        fits = shards + count <= SHARDS_IN_FILE and total + size <= MOST_BYTES
        if group and not (follows and fits and sizes[name] == rows * count):
            yield group
            group, shards, total = [], 0, 0
        if not group:
            rows = sizes[name] // count
        group.append(name)
        shards, total = shards + count, total + size
    if group:
        yield group


def _join(directory: AnswerDirectory, manifest: Mapping[str, Any], names: Sequence[str]) -> Shard:
    """Write a file with the rows of others."""
    stored = [load_listed(directory, manifest, name) for name in names]
    parts = [each.answers for each in stored]
    answers = ShardAnswers(
        records=[record for part in parts for record in part.records],
        image_sha256=[digest for part in parts for digest in part.image_sha256],
        errors=[error for part in parts for error in part.errors],
        yes=np.concatenate([part.yes for part in parts]),
        no=np.concatenate([part.no for part in parts]),
    )
    joined = Shard(span_of(names[0])[0], answers.records, span_of(names[-1])[1])
    path = f"{directory.path}/{joined.file_name}"
    with writing(path):
        # Only the header of a partial file allows pairs without an answer.
        header = next((each.header for each in stored if each.header.partial), stored[0].header)
        write_whole(directory.filesystem, path, write_shard(header, answers))
    return joined


def _write_manifest(
    directory: AnswerDirectory, manifest: Mapping[str, Any], sizes: Mapping[str, int], digests: Mapping[str, str]
) -> None:
    """Replace the manifest by one that lists other files with the same rows."""
    header = AnswerHeader.from_json(manifest)
    named = {**manifest, **header.to_json()}
    document = {name: value for name, value in named.items() if name not in ("images", "shards", "digests", FIELDS_KEY)}
    if any(map(is_compacted, sizes)):
        document["schema_version"] = COMPACTED_VERSION
    written = {"images": manifest["images"], "shards": dict(sizes), "digests": dict(digests)}
    document |= {**written, FIELDS_KEY: field_digests(document)}
    with writing(directory.manifest_path):
        write_whole(directory.filesystem, directory.manifest_path, json.dumps(document, indent=2).encode())
