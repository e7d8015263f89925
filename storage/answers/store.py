"""The answer directory of one teacher, one question set and one dataset, and how it is resumed.

`STORE/answers/dataset=<name>/teacher=<fingerprint>/questions=<set fingerprint>/part-00000.parquet`

The manifest, `questions=<set fingerprint>.json`, is next to the directory, not in it: Polars refuses to scan a folder
that holds anything but Parquet files.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from pyarrow import fs

from storage.answers.damage import AnswersDamaged as AnswersDamaged
from storage.answers.damage import AnswersMissing as AnswersMissing
from storage.answers.damage import DirectoryChanged, damage
from storage.answers.header import COMPACTED_VERSION
from storage.answers.integrity import FIELDS_KEY, field_digests
from storage.answers.manifest import SHARD_NAME, check_place, file_order, is_compacted, parse_manifest
from storage.answers.schema import AnswerHeader, ShardAnswers, StoredShard, parse_shard, write_shard
from storage.answers.shards import Shard, shard_digest
from storage.datasets.records import ImageRecord
from storage.filesystem import (
    list_folder,
    open_store,
    read_file,
    reading,
    unfinished_prefix,
    with_attempts,
    write_whole,
)

# By shard: size in bytes and modification time in ns, to detect changes.
Stamps = Mapping[str, tuple[int | None, int | None]]


@dataclass(frozen=True)
class AnswerDirectory:
    """One directory of the store. Files are written atomically; the manifest is written last.

    `seen` are the shards that a plan is based on: shards changed since then are neither replaced nor deleted.
    """

    filesystem: fs.FileSystem
    path: str
    seen: Stamps | None = field(default=None, compare=False)

    @classmethod
    def locate(cls, store: str, dataset: str, teacher_fingerprint: str, questions_fingerprint: str) -> AnswerDirectory:
        """Return the directory of a dataset, teacher and question set. Raises StoreUnreachable and
        StorageUnavailable."""
        filesystem, root = open_store(store)
        parts = (f"dataset={dataset}", f"teacher={teacher_fingerprint}", f"questions={questions_fingerprint}")
        return cls(filesystem, "/".join((root, "answers", *parts)))

    @classmethod
    def at(cls, uri: str) -> AnswerDirectory:
        """Return the directory at a path or URI. Raises StoreUnreachable and StorageUnavailable."""
        filesystem, path = open_store(uri)
        return cls(filesystem, path.rstrip("/"))

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, filesystem=with_attempts(state["filesystem"]))

    @property
    def parent(self) -> str:
        return self.path.rpartition("/")[0]

    @property
    def folder(self) -> str:
        """The folder's name: questions=..."""
        return self.path.rpartition("/")[2]

    @property
    def manifest_path(self) -> str:
        return f"{self.path}.json"

    @property
    def image_stamps_path(self) -> str:
        """The path of the cache of `storage/answers/image_stamps.py`."""
        return f"{self.path}.stamps"

    @property
    def choice_path(self) -> str:
        """The path of the pairs chosen within a budget (`storage/answers/choice.py`)."""
        return f"{self.path}.choice"

    @property
    def predicted_path(self) -> str:
        """The path of the predicted values of pairs that were not asked (`storage/answers/predicted.py`)."""
        return f"{self.path}.predicted"

    def write_shard(self, shard: Shard, header: AnswerHeader, answers: ShardAnswers) -> None:
        """Write a shard. Raises DirectoryChanged if another run has written it meanwhile."""
        if self.has_changed(shard.file_name):
            raise DirectoryChanged(_changed(f"{self.path}/{shard.file_name}"))
        write_whole(self.filesystem, f"{self.path}/{shard.file_name}", write_shard(header, answers))

    def read_shard(self, file_name: str) -> tuple[AnswerHeader, ShardAnswers]:
        """Return header and rows of a shard. Raises the same errors as `load_shard`."""
        stored = self.load_shard(file_name)
        return stored.header, stored.answers

    def load_shard(self, file_name: str, reuse_keys: Collection[str] | None = None) -> StoredShard:
        """Load and validate a shard; with `reuse_keys` only the answers to these questions.

        Raises FileNotFoundError, AnswersDamaged, VersionUnsupported, and StorageUnavailable if it cannot be read.
        """
        path = f"{self.path}/{file_name}"
        data = read_file(self.filesystem, path)
        with damage(f"shard {path}", "replace"):
            stored = parse_shard(data, reuse_keys)
            check_place(stored.header, self.path)
            return stored

    def find_shard(self, shard: Shard, header: AnswerHeader, digest: str | None = None) -> StoredShard | None:
        """Return the stored `shard` if it is whole, with `header`'s fingerprints and exactly these images, in order.

        `digest` is the one in the manifest, which is compared for a shard without digests of its own. Raises
        VersionUnsupported and StorageUnavailable, when its state is unknown.
        """
        stored = self.load_if_whole(shard.file_name)
        return stored if stored is not None and shard.is_in(stored, header, digest) else None

    def load_if_whole(self, file_name: str) -> StoredShard | None:
        """Load a shard; None if it is missing or damaged. Raises VersionUnsupported and StorageUnavailable."""
        try:
            return self.load_shard(file_name)
        except (FileNotFoundError, AnswersDamaged):
            return None

    def valid_shard(self, shard: Shard, header: AnswerHeader) -> ShardAnswers | None:
        """Return the rows of `find_shard`."""
        stored = self.find_shard(shard, header)
        return stored.answers if stored else None

    def as_seen(self) -> Self:
        """Return a copy with the current shards as `seen`. Raises StorageUnavailable."""
        return replace(self, seen=self.stamps())

    def has_changed(self, file_name: str) -> bool:
        """Return whether a shard differs from the one `seen`. Raises StorageUnavailable."""
        if self.seen is None:
            return False
        with reading(self.path):
            info = self.filesystem.get_file_info(f"{self.path}/{file_name}")
        now = None if info.type == fs.FileType.NotFound else (info.size, info.mtime_ns)
        return now != self.seen.get(file_name)

    def stamps(self) -> Stamps:
        """Return size and modification time of the shards, in order. Raises StorageUnavailable."""
        found = {
            info.base_name: (info.size, info.mtime_ns)
            for info in list_folder(self.filesystem, self.path)
            if info.type == fs.FileType.File and SHARD_NAME.fullmatch(info.base_name)
        }
        return {name: found[name] for name in sorted(found, key=file_order)}

    def shard_files(self) -> list[str]:
        """Return the names of the shards, in order. Raises StorageUnavailable."""
        return list(self.stamps())

    def splits(self) -> list[str]:
        """Return the splits of the shards, whether or not the directory is complete.

        Raises VersionUnsupported and StorageUnavailable.
        """
        found = dict.fromkeys((self.last_manifest() or {}).get("splits", []))
        found.update(dict.fromkeys(record.split for record in self.records()))
        return list(found)

    def records(self) -> Iterator[ImageRecord]:
        """Yield the images of the shards, whether or not the directory is complete. Raises as `splits`."""
        for name in self.shard_files():
            try:
                records = self.load_shard(name, ()).answers.records
            except (FileNotFoundError, AnswersDamaged):
                continue  # a damaged shard is asked again
            yield from records

    @property
    def reopened_path(self) -> str:
        return f"{self.parent}/{unfinished_prefix(self.folder)}manifest.json"

    def manifest(self) -> dict[str, Any] | None:
        """Read the manifest; None while the directory is not complete.

        Raises AnswersDamaged, VersionUnsupported and StorageUnavailable.
        """
        return self._read_manifest(self.manifest_path)

    def last_manifest(self) -> dict[str, Any] | None:
        """Read the last manifest, also of a directory that was reopened; None if there was none or it is damaged.

        Shards can be read without it. Raises VersionUnsupported and StorageUnavailable.
        """
        for path in (self.manifest_path, self.reopened_path):
            try:
                if (found := self._read_manifest(path)) is not None:
                    return found
            except AnswersDamaged:
                continue
        return None

    def is_complete(self) -> bool:
        """Return whether there is a valid manifest. Raises VersionUnsupported and StorageUnavailable."""
        try:
            return self.manifest() is not None
        except AnswersDamaged:
            return False

    def reopen(self) -> None:
        """Mark the directory as not complete, before its shards change.

        Raises DirectoryChanged if they have changed since they were `seen`, and StorageUnavailable.
        """
        if self.seen is not None and self.stamps() != self.seen:
            raise DirectoryChanged(_changed(self.path))
        with reading(self.manifest_path):
            if self.filesystem.get_file_info(self.manifest_path).type == fs.FileType.NotFound:
                return
        if self.is_complete():
            self.filesystem.move(self.manifest_path, self.reopened_path)
        else:  # damaged: the one that an earlier run kept may still be valid
            self.filesystem.delete_file(self.manifest_path)

    def complete(
        self,
        header: AnswerHeader,
        shards: Iterable[Shard],
        facts: Mapping[str, Any],
        digests: Mapping[str, str] | None = None,
    ) -> None:
        """Delete other shards, then write the manifest: header, shards with their number of rows, their `digests`, and
        `facts`.

        Missing digests are computed. Raises DirectoryChanged for another shard that was not there when the plan was
        made, and the same errors as `load_shard`.
        """
        listed = {shard.file_name: len(shard.records) for shard in shards}
        others = [name for name in self.shard_files() if name not in listed]
        if self.seen is not None and (new := [name for name in others if name not in self.seen]):
            raise DirectoryChanged(_changed(f"{self.path}/{new[0]}"))
        if digests is None:
            digests = {name: shard_digest(self.load_shard(name)) for name in listed}
        for name in others:
            self.filesystem.delete_file(f"{self.path}/{name}")
        written = {"images": sum(listed.values()), "shards": listed, "digests": dict(digests)}
        document = {**header.to_json(), **facts}
        if any(map(is_compacted, listed)):
            document["schema_version"] = COMPACTED_VERSION
        # `written` needs no digests: it can be checked against the shards.
        document |= {**written, FIELDS_KEY: field_digests(document)}
        write_whole(self.filesystem, self.manifest_path, json.dumps(document, indent=2).encode())
        self.sweep()
        self.remove_file(self.reopened_path)

    def sweep(self) -> None:
        """Remove unfinished files of killed runs. No other run may be working on the directory.

        Raises StorageUnavailable.
        """
        above, _, teacher = self.parent.rpartition("/")
        ours = (unfinished_prefix(self.folder), f".probe-{self.folder}-")
        for place, prefixes in ((self.parent, ours), (above, unfinished_prefix(teacher))):
            for info in list_folder(self.filesystem, place):
                left = info.base_name.startswith(prefixes) and self.folder in info.base_name
                if left and info.path != self.reopened_path:
                    self.remove_file(info.path)

    def remove_file(self, path: str) -> None:
        """Delete a file if it exists."""
        try:
            self.filesystem.delete_file(path)
        except FileNotFoundError:
            return

    def _read_manifest(self, path: str) -> dict[str, Any] | None:
        try:
            data = read_file(self.filesystem, path)
        except FileNotFoundError:
            return None
        with damage(f"manifest {path}", "rebuild"):
            return parse_manifest(data, self.path)


def _changed(path: str) -> str:
    return f"another run has written {path} since this one began; run the same command again to go on from there"
