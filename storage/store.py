"""The directory of answers that one teacher gave to one question set on one dataset, and its resume.

`STORE/answers/dataset=<name>/teacher=<fingerprint>/questions=<set fingerprint>/part-00000.parquet`

Beside each directory lies its manifest, `questions=<set fingerprint>.json`: not in it, since Polars refuses to scan a
folder that holds anything but Parquet files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from storage.datasets.base import ImageRecord
from storage.errors import InputInvalid
from storage.filesystem import list_folder, open_root, read_file, subfolder, unfinished_prefix, write_whole
from storage.schema import AnswerHeader, ShardAnswers, from_table, header_of, to_table


class AnswersMissing(InputInvalid):
    """No complete answers where they were looked for; the message says what is there and what to do."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Consecutive images of the dataset's order that are asked and written together."""

    index: int
    records: tuple[ImageRecord, ...]

    @property
    def file_name(self) -> str:
        return f"part-{self.index:05d}.parquet"


def cut_shards(records: Sequence[ImageRecord], size: int) -> list[Shard]:
    """`records` in pieces of `size`, in order: the cut depends on the dataset alone, never on workers."""
    if size < 1:
        raise ValueError(f"shard size is {size}; it must be at least 1")
    return [
        Shard(number, tuple(records[start : start + size])) for number, start in enumerate(range(0, len(records), size))
    ]


@dataclass(frozen=True)
class AnswerDirectory:
    """One directory of the store. Files appear whole or not at all; the manifest is written last."""

    filesystem: fs.FileSystem
    path: str

    @classmethod
    def locate(cls, store: str, dataset: str, teacher_fingerprint: str, questions_fingerprint: str) -> AnswerDirectory:
        filesystem, root = open_root(store)
        parts = (f"dataset={dataset}", f"teacher={teacher_fingerprint}", f"questions={questions_fingerprint}")
        return cls(filesystem, "/".join((root, "answers", *parts)))

    @classmethod
    def at(cls, uri: str) -> AnswerDirectory:
        filesystem, path = open_root(uri)
        return cls(filesystem, path.rstrip("/"))

    @property
    def manifest_path(self) -> str:
        return f"{self.path}.json"

    def write_shard(self, shard: Shard, header: AnswerHeader, answers: ShardAnswers) -> None:
        buffer = pa.BufferOutputStream()
        pq.write_table(to_table(header, answers), buffer, compression="zstd")
        write_whole(self.filesystem, f"{self.path}/{shard.file_name}", buffer.getvalue().to_pybytes())

    def read_shard(self, file_name: str) -> tuple[AnswerHeader, ShardAnswers]:
        """Raises OSError or ValueError (pyarrow's errors are of these kinds) where the file is not a whole shard."""
        table = pq.read_table(pa.BufferReader(read_file(self.filesystem, f"{self.path}/{file_name}")))
        return header_of(table.schema), from_table(table)

    def valid_shard(self, shard: Shard, header: AnswerHeader) -> ShardAnswers | None:
        """The stored rows of `shard` if it is whole, has `header`'s fingerprints and exactly these images, in order."""
        try:
            stored, answers = self.read_shard(shard.file_name)
        except (OSError, ValueError, KeyError):
            return None
        same = (
            stored.teacher_fingerprint == header.teacher_fingerprint
            and stored.questions.fingerprint == header.questions.fingerprint
            and stored.dataset == header.dataset
            and tuple(answers.records) == shard.records
        )
        return answers if same else None

    def shard_files(self) -> list[str]:
        """The names of the shards that are here, in order."""
        names = [info.base_name for info in list_folder(self.filesystem, self.path)]
        return [name for name in names if name.startswith("part-") and name.endswith(".parquet")]

    def splits(self) -> list[str]:
        """The splits that the shards here belong to, whether or not the directory is complete."""
        found: dict[str, None] = {}
        for name in self.shard_files():
            try:
                file = pa.BufferReader(read_file(self.filesystem, f"{self.path}/{name}"))
                found.update(dict.fromkeys(pq.read_table(file, columns=["split"])["split"].to_pylist()))
            except (OSError, ValueError, KeyError):
                continue  # a damaged shard is asked again, with the splits that are asked for
        return list(found)

    @property
    def _reopened_path(self) -> str:
        parent, _, folder = self.path.rpartition("/")
        return f"{parent}/{unfinished_prefix(folder)}manifest.json"

    def manifest(self) -> dict[str, Any] | None:
        """What `complete` wrote; None while the directory is not complete."""
        return self._read_json(self.manifest_path)

    def last_manifest(self) -> dict[str, Any] | None:
        """What `complete` wrote last, also while the directory is not complete again; None if it never was."""
        return self.manifest() or self._read_json(self._reopened_path)

    def reopen(self) -> None:
        """Say that the directory is not complete, before its shards change."""
        if self.filesystem.get_file_info(self.manifest_path).type != fs.FileType.NotFound:
            self.filesystem.move(self.manifest_path, self._reopened_path)

    def complete(self, header: AnswerHeader, shards: Iterable[Shard], facts: dict[str, Any]) -> None:
        """Write the manifest (header, shards with their rows, `facts`), once what an older run left is removed."""
        parent, _, folder = self.path.rpartition("/")
        for info in list_folder(self.filesystem, parent):
            if info.base_name.startswith(unfinished_prefix(folder)):
                self.filesystem.delete_file(info.path)
        listed = {shard.file_name: len(shard.records) for shard in shards}
        for name in self.shard_files():
            if name not in listed:
                self.filesystem.delete_file(f"{self.path}/{name}")
        document = {**header.to_json(), "images": sum(listed.values()), "shards": listed, **facts}
        write_whole(self.filesystem, self.manifest_path, json.dumps(document, indent=2).encode())

    def _read_json(self, path: str) -> dict[str, Any] | None:
        try:
            return dict(json.loads(read_file(self.filesystem, path)))
        except (FileNotFoundError, json.JSONDecodeError):
            return None


def audits_of(store: str) -> str:
    """Where audits keep the answers to their samples: a store of its own in the store, so that nobody takes them for
    the answers about a dataset."""
    return subfolder(store, "audits")


def answer_directories(store: str, dataset: str | None = None) -> list[AnswerDirectory]:
    """Every answer directory in the store, complete or not, ordered by path."""
    filesystem, root = open_root(store)
    found = [f"{root}/answers"]
    for partition in ("dataset=", "teacher=", "questions="):
        found = [
            info.path
            for path in found
            for info in list_folder(filesystem, path)
            if info.type == fs.FileType.Directory and info.base_name.startswith(partition)
        ]
    wanted = f"/answers/dataset={dataset}/" if dataset is not None else "/answers/"
    return [AnswerDirectory(filesystem, path) for path in found if wanted in path]
