"""Reuse a teacher's earlier answers, by image digest and question (`AspectQuestion.reuse_key`).

Known answers stay in their files. In memory are 12 bytes for each row: where the row of a digest is. A shard is read
when the answers of one of its rows are needed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from storage.answers.damage import AnswersDamaged, damage
from storage.answers.digests import DIGEST, Digests, IdIndex
from storage.answers.directories import answer_directories, audits_of
from storage.answers.manifest import check_place
from storage.answers.replaced import copied_names, replaced_shards
from storage.answers.schema import AnswerHeader, StoredShard, header_of
from storage.answers.store import AnswerDirectory
from storage.datasets.base import ImageRecord
from storage.filesystem import read_file

MOST_ROWS = 200_000  # of shards that are kept in memory
READERS = 4  # threads that read files


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRows:
    """The rows of one file: keys of their `digests` [I], and which are `answered` [I]."""

    name: str
    digests: NDArray[np.uint64]
    answered: NDArray[np.bool_]

    @classmethod
    def of(cls, name: str, image_sha256: Sequence[str | None], errors: Sequence[str | None]) -> FileRows:
        found = Digests.of(image_sha256)
        has_answers = np.array([error is None for error in errors], bool)
        return cls(name=name, digests=found.keys, answered=has_answers & (found.state == DIGEST))


@dataclass(frozen=True, slots=True)
class KnownDirectory:
    """The rows of a directory's files, found by digest.

    `starts` [F + 1] are the numbers of the first rows of the F files `names`, `index` has the rows by digest. `own`
    marks a directory of the dataset that is asked about.
    """

    directory: AnswerDirectory | None
    names: tuple[str, ...]
    starts: NDArray[np.int64]
    index: IdIndex
    own: bool

    @classmethod
    def of(cls, directory: AnswerDirectory | None, files: Sequence[FileRows], *, own: bool) -> KnownDirectory:
        starts = np.cumsum([0, *(len(file.digests) for file in files)])
        count = sum(int(file.answered.sum()) for file in files)
        digests, rows = np.empty(count, np.uint64), np.empty(count, np.uint32)
        place = 0
        for start, file in zip(starts, files, strict=False):
            answered = np.flatnonzero(file.answered)
            part = slice(place, place + len(answered))
            digests[part], rows[part] = file.digests[answered], start + answered
            place = part.stop
        index = IdIndex.of_hashes(digests, rows)
        return cls(directory, tuple(file.name for file in files), starts, index, own)

    def find(self, index: IdIndex, key: int) -> Iterator[tuple[str, int]]:
        """Yield the files with a key, and the row in each."""
        for row in index.places(key):
            file = int(np.searchsorted(self.starts, row, side="right")) - 1
            yield self.names[file], int(row - self.starts[file])


class KnownAnswers:
    """Answers of one teacher. `datasets` are those being asked about: only their images are known by id.

    It is pickled without the shards that it has read. Raises StorageUnavailable and VersionUnsupported where it reads
    some.
    """

    def __init__(
        self,
        directories: Sequence[KnownDirectory] = (),
        datasets: Collection[str] = (),
        reuse_keys: Collection[str] | None = None,
    ) -> None:
        self.directories = list(directories)
        self.datasets = datasets
        self._reuse_keys = reuse_keys
        self._given: dict[str, StoredShard] = {}  # shards that are in no directory
        self._open()

    def _open(self) -> None:
        self._turn = threading.RLock()
        self._read: OrderedDict[tuple[str, str], StoredShard | None] = OrderedDict()
        self._ids: dict[int, IdIndex] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_turn", "_read", "_ids")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open()

    def add(self, stored: StoredShard) -> None:
        """Add a shard, which is kept in memory."""
        name = f"{len(self._given)}"
        self._given[name] = stored
        own = stored.header.dataset in self.datasets
        rows = FileRows.of(name, stored.answers.image_sha256, stored.answers.errors)
        self.directories.append(KnownDirectory.of(None, [rows], own=own))

    def fill(self, digest: str, reuse_keys: Sequence[str], yes: NDArray[np.float32], no: NDArray[np.float32]) -> int:
        """Fill gaps (NaN) in `yes` and `no`, each [Q], with known answers about an image; return the number filled."""
        before = missing = int(np.isnan(yes).sum())
        key = int(Digests.of([digest]).keys[0])
        for known in self.directories:
            for name, row in known.find(known.index, key) if missing else ():
                stored = self._shard(known, name)
                if stored is None or stored.answers.image_sha256[row] != digest or stored.answers.errors[row]:
                    continue  # written by another run meanwhile
                columns = _columns(stored)
                for place, reuse_key in enumerate(reuse_keys):
                    if np.isnan(yes[place]) and (column := columns.get(reuse_key)) is not None:
                        yes[place], no[place] = stored.answers.yes[row, column], stored.answers.no[row, column]
                missing = int(np.isnan(yes).sum())
        return before - missing

    def digest_of(self, record: ImageRecord) -> str | None:
        """Return the digest that an image of the dataset had when last asked about; None if never."""
        found = None
        for number, known in enumerate(self.directories):
            if known.own:
                for name, row in known.find(self._index_of(number), IdIndex.key(record.image_id)):
                    found = self._digest_in(known, name, row, record) or found
        return found

    def _digest_in(self, known: KnownDirectory, name: str, row: int, record: ImageRecord) -> str | None:
        stored = self._shard(known, name)
        if stored is None or row >= len(stored.answers.records) or stored.answers.errors[row] is not None:
            return None
        its = stored.answers.records[row]
        same = (its.image_id, its.box) == (record.image_id, record.box)
        return stored.answers.image_sha256[row] if same else None

    def _index_of(self, number: int) -> IdIndex:
        """Return the index by id of an own directory: only needed when an image cannot be read."""
        with self._turn:
            if number not in self._ids:
                known = self.directories[number]
                shards = (self._shard(known, name) for name in known.names)
                ids = (_ids(shard, count) for shard, count in zip(shards, np.diff(known.starts), strict=True))
                self._ids[number] = IdIndex.of(ids)
            return self._ids[number]

    def _shard(self, known: KnownDirectory, name: str) -> StoredShard | None:
        """Return a shard, at most MOST_ROWS of them in memory; None if it is missing or damaged."""
        if known.directory is None:
            return self._given[name]
        place = known.directory.path, name
        with self._turn:
            if place in self._read:
                self._read.move_to_end(place)
                return self._read[place]
        found = _load(known.directory, name, self._reuse_keys)
        with self._turn:
            self._read[place] = found
            while sum(map(_rows, self._read.values())) > MOST_ROWS and len(self._read) > 1:
                self._read.popitem(last=False)
        return found


def known_answers(
    store: str,
    datasets: Collection[str],
    teacher_fingerprint: str,
    reuse_keys: Collection[str] | None = None,
    read: Mapping[str, Sequence[FileRows]] | None = None,
) -> KnownAnswers:
    """Find the answers of this teacher in the store and its audits, `datasets` first; of all questions, or of those
    with `reuse_keys`.

    Unfinished directories count too, and copies of replaced shards. Directories that have been `read`, by path, are
    not read again. Raises VersionUnsupported, and StorageUnavailable if something cannot be read now: nothing is asked
    again because of it.
    """
    read = read or {}
    directories = [
        directory
        for place in (store, audits_of(store))
        for directory in answer_directories(place)
        if f"/teacher={teacher_fingerprint}/" in directory.path
    ]
    found = []
    with ThreadPoolExecutor(READERS) as readers:
        for directory in sorted(directories, key=lambda each: _dataset_of(each) not in datasets):
            if directory.path not in read and reuse_keys is not None and not _share(directory, reuse_keys):
                continue
            copies = replaced_shards(directory)
            for place, names in ((directory, directory.shard_files()), (copies, copied_names(directory))):
                files = list(read.get(place.path, ()))
                seen = {file.name for file in files}
                if place is copies or place.path not in read:
                    rest = [name for name in names if name not in seen]
                    files += filter(None, readers.map(lambda name, place=place: _read_rows(place, name), rest))
                if files:
                    found.append(KnownDirectory.of(place, files, own=_dataset_of(directory) in datasets))
    return KnownAnswers(found, datasets, reuse_keys)


def _read_rows(directory: AnswerDirectory, name: str) -> FileRows | None:
    """Read the digests of a file; None if it is missing or damaged: its rows are asked again."""
    try:
        data = read_file(directory.filesystem, f"{directory.path}/{name}")
        with damage(f"shard {directory.path}/{name}", "replace"):
            file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True, pre_buffer=False)
            check_place(header_of(file.metadata.metadata or {}), directory.path)
            table = file.read(columns=["image_sha256", "error"], use_threads=False)
            return FileRows.of(name, table.column("image_sha256").to_pylist(), table.column("error").to_pylist())
    except (FileNotFoundError, AnswersDamaged):
        return None


def _load(directory: AnswerDirectory, name: str, reuse_keys: Collection[str] | None) -> StoredShard | None:
    try:
        return directory.load_shard(name, reuse_keys)
    except (FileNotFoundError, AnswersDamaged):
        return None


def _rows(stored: StoredShard | None) -> int:
    return len(stored.answers.records) if stored is not None else 1


def _columns(stored: StoredShard) -> dict[str, int]:
    """Return the column of each question by its reuse key."""
    questions = stored.header.questions
    reuse_keys = dict(zip(questions.keys, questions.reuse_keys, strict=True))
    return {reuse_keys[key]: column for column, key in enumerate(stored.keys)}


def _ids(stored: StoredShard | None, count: int) -> pa.Array:
    """Return the ids of a file's rows; empty ones if it no longer has `count` rows."""
    if stored is None or len(stored.answers.records) != count:
        return pa.array([""] * count, pa.string())
    return pa.array([record.image_id for record in stored.answers.records], pa.string())


def _dataset_of(directory: AnswerDirectory) -> str:
    return directory.path.split("/")[-3].removeprefix("dataset=")


def _share(directory: AnswerDirectory, reuse_keys: Collection[str]) -> bool:
    """Return whether the manifest has some of these questions, as far as it can be read."""
    manifest = directory.last_manifest()
    return manifest is None or not set(reuse_keys).isdisjoint(AnswerHeader.from_json(manifest).questions.reuse_keys)
