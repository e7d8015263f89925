"""The folder of a dataset's corrections: one small file per recorded batch, merged when there are many."""

from __future__ import annotations

import getpass
import os
import threading
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from pyarrow import fs

from storage.answers.writing import write_patiently, writing
from storage.corrections.rows import BEGINNING, Correction, CorrectionInvalid, parse_rows, write_rows
from storage.filesystem import list_folder, open_store, read_file, unfinished_prefix, write_whole
from storage.parsing import parsing
from storage.text import printable

MOST_FILES = 64  # small files; more of them are merged into one
LARGE = 1000  # files with at least so many rows are not merged, so that merging stays fast
ATTEMPTS = 5  # to list and read the folder while another process merges it
TICK = timedelta(microseconds=1)


class CorrectionFolder:
    """`STORE/corrections/dataset=<name>`, for one or more threads.

    Files never change: each is read once and cached. A merged file is written before the files that it replaces are
    deleted, so a killed process leaves at worst duplicate rows, which are identified by their id.
    """

    def __init__(self, filesystem: fs.FileSystem, path: str, dataset: str) -> None:
        self.filesystem, self.path, self.dataset = filesystem, path, dataset
        self._files: dict[str, list[Correction]] = {}
        self._rows: list[Correction] = []
        self._lock = threading.RLock()

    @classmethod
    def open(cls, store: str, dataset: str) -> CorrectionFolder:
        """Return the folder, which need not exist. Raises StoreUnreachable and StorageUnavailable."""
        filesystem, root = open_store(store)
        return cls(filesystem, f"{root.rstrip('/')}/corrections/dataset={dataset}", dataset)

    def read(self) -> list[Correction]:
        """Return every row in the order of recording, undone ones and undoing ones included.

        Raises CorrectionInvalid for a damaged file, naming it, VersionUnsupported and StorageUnavailable.
        """
        with self._lock:
            for _ in range(ATTEMPTS):
                try:
                    self._refresh()
                    break
                except FileNotFoundError:  # merged into another file since the folder was listed
                    continue
            else:
                raise CorrectionInvalid(f"the files in {self.path} keep changing; try again")
            return self._rows

    def record(self, corrections: Sequence[Correction], user: str | None = None) -> list[Correction]:
        """Append corrections, in their order, as one file, and return them as recorded; `user` is by default the
        system's. Raises the same errors as `read`."""
        if not corrections:
            return []
        with self._lock:
            before = self.read()
            # Later than every known row even if clocks differ: the last correction takes effect.
            first = max(datetime.now(UTC), before[-1].at + TICK if before else BEGINNING)
            named = user or system_user()
            recorded = [
                replace(one, correction=uuid.uuid4().hex, at=first + number * TICK, user=named)
                for number, one in enumerate(corrections)
            ]
            self._write(recorded)
            if len(self._small()) > MOST_FILES:
                self.merge()
            return recorded

    def undo(self, correction: str, user: str | None = None) -> Correction:
        """Undo a correction by its id; the previous one takes effect again.

        Raises CorrectionInvalid if there is none or it is already undone, and the same errors as `read`.
        """
        with self._lock:
            rows = self.read()
            undone = {row.undoes for row in rows}
            found = next((row for row in rows if row.correction == correction and row.undoes is None), None)
            if found is None or correction in undone:
                why = "is undone already" if found else f"is unknown in {self.path}"
                raise CorrectionInvalid(
                    f"correction '{printable(correction, 60)}' {why}; see 'aspects corrections list'"
                )
            row = replace(
                found,
                value=None,
                old=found.value,
                note=None,
                shown=None,
                probability=None,
                pool=None,
                undoes=correction,
            )
            return self.record([row], user)[0]

    def whole_id(self, beginning: str) -> str:
        """Return the id with this beginning. Raises CorrectionInvalid if there is none or several."""
        found = [row.correction for row in self.read() if row.correction.startswith(beginning) and row.undoes is None]
        if len(found) != 1 or not beginning:
            why = "is unknown" if not found else "stands for several"
            raise CorrectionInvalid(
                f"correction '{printable(beginning, 60)}' {why} in {self.path}; see 'aspects corrections list'"
            )
        return found[0]

    def merge(self) -> None:
        """Replace all small files by one file. Raises the same errors as `read`."""
        with self._lock:
            self.read()
            small = self._small()
            if len(small) < 2:
                return
            rows = {row.correction: row for name in small for row in self._files[name]}
            self._write(sorted(rows.values(), key=_order))
            for name in small:
                try:
                    with writing(self.path):
                        self.filesystem.delete_file(f"{self.path}/{name}")
                except FileNotFoundError:
                    continue  # another process merges too
                finally:
                    self._files.pop(name, None)

    def sweep(self) -> None:
        """Remove unfinished files of killed processes. Raises StorageUnavailable."""
        above, _, folder = self.path.rpartition("/")
        for info in list_folder(self.filesystem, above):
            if info.base_name.startswith(unfinished_prefix(folder)):
                self.filesystem.delete_file(info.path)

    def _small(self) -> list[str]:
        return [name for name, rows in self._files.items() if len(rows) < LARGE]

    def _refresh(self) -> None:
        """Read the files that are new. Raises FileNotFoundError where a listed one is gone."""
        listed = [info.base_name for info in self._listed()]
        files = {name: self._files.get(name) or self._load(name) for name in listed}
        if files.keys() != self._files.keys() or not self._rows:
            rows = {row.correction: row for part in files.values() for row in part}
            self._files, self._rows = files, sorted(rows.values(), key=_order)

    def _listed(self) -> list[fs.FileInfo]:
        found = list_folder(self.filesystem, self.path)
        return [info for info in found if info.type == fs.FileType.File and info.base_name.endswith(".parquet")]

    def _load(self, name: str) -> list[Correction]:
        path = f"{self.path}/{name}"
        data = read_file(self.filesystem, path)
        advice = "restore the file, or move it away and lose its rows"
        with parsing(f"corrections file {path}", CorrectionInvalid, advice):
            return parse_rows(data)

    def _write(self, rows: list[Correction]) -> None:
        """Write a new file; its name sorts by time."""
        name = f"{rows[0].at:%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:12]}.parquet"
        path, data = f"{self.path}/{name}", write_rows(rows, self.dataset)
        write_patiently(lambda: write_whole(self.filesystem, path, data), path)
        self._files[name] = rows
        known = {row.correction: row for row in (*self._rows, *rows)}
        self._rows = sorted(known.values(), key=_order)


def corrected_datasets(store: str) -> list[str]:
    """Return the names of the datasets with corrections, in order. Raises StoreUnreachable and StorageUnavailable."""
    filesystem, root = open_store(store)
    found = list_folder(filesystem, f"{root.rstrip('/')}/corrections")
    folders = [info.base_name for info in found if info.type == fs.FileType.Directory]
    return [name.removeprefix("dataset=") for name in folders if name.startswith("dataset=")]


def sweep_corrections(store: str) -> None:
    """Remove unfinished files of killed processes from all folders. Raises StorageUnavailable."""
    for dataset in corrected_datasets(store):
        CorrectionFolder.open(store, dataset).sweep()


def _order(row: Correction) -> tuple[datetime, str]:
    return row.at, row.correction


def system_user() -> str:
    """Return the name of the user who runs this process; the number if the system has no name for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # as in containers; Python 3.13 raises OSError
        return str(os.getuid())
