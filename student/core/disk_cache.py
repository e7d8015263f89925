"""Decoded images that are kept on disk and used again: by a run that resumes, by the other runs of an experiment.

Entries (`disk_entry.py`) are the folders FOLDER/decoded/KEY. Processes that read one hold a shared lock on it, the one
that writes or deletes it an exclusive one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import PIL

from storage.datasets.base import StampedDataset
from storage.errors import InputInvalid, StorageUnavailable
from student.core.cache import Decoded
from student.core.decoding import ImageSource
from student.core.disk_entry import INDEX, Entry
from student.core.files import try_lock
from student.core.progress import note

VERSION = 1  # of the files, and of how images are decoded
SAMPLE = 64  # images whose bytes stand for all where a dataset has no files with sizes and times
RESERVE = 1 << 30  # bytes of the disk that are left free
GB = 10**9


def default_cache_folder() -> Path:
    """ASPECTS_CACHE, or `aspects` in the user's cache folder."""
    if named := os.environ.get("ASPECTS_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "aspects"


def key_of(source: ImageSource) -> str:
    """Digest of the images and of what is kept of them: ids, sizes and modification times of their files, the
    preparation, and the version of the decoder. Reads no image where the dataset knows its files."""
    dataset, ids = source.dataset, [record.image_id for record in source.records]
    digest = hashlib.sha256(repr((VERSION, PIL.__version__, source.preparation, len(ids))).encode())
    if isinstance(dataset, StampedDataset):
        for image_id in ids:
            digest.update(f"{image_id}\0{_stamp(dataset, image_id)}\n".encode())
    else:
        digest.update(repr((dataset.name, ids)).encode())
        for image_id in ids[:: max(1, len(ids) // SAMPLE)]:
            with suppress(OSError, ValueError):
                digest.update(hashlib.sha256(dataset.read(image_id)).digest())
    return digest.hexdigest()[:24]


def _stamp(dataset: StampedDataset, image_id: str) -> str:
    try:
        return str(tuple(dataset.stamp(image_id)))
    except OSError as error:
        return str(error.strerror)


@dataclass(frozen=True)
class DiskCache:
    """Entries below `folder`, at most `limit` bytes of them together."""

    folder: Path
    limit: float

    @contextmanager
    def open(
        self, source: ImageSource, bytes_needed: int, *, progress: bool, keep_pixels: bool = True
    ) -> Iterator[tuple[Decoded, Path]]:
        """What became of the images, and the file with their pixels, decoded now where they are not there yet; they
        stay when the block ends. Without `keep_pixels` the images are only checked, and the file stays empty.

        Raises StorageUnavailable where about `bytes_needed` do not fit or the folder cannot be written.
        """
        entry = Entry(self._place / (key_of(source) + ("" if keep_pixels else "-checked")), keep_pixels)
        while True:
            with self._using(entry, fcntl.LOCK_SH):
                if (decoded := entry.read(source)) is not None:
                    with suppress(OSError):
                        os.utime(entry.folder / INDEX)  # its last use
                    yield decoded, entry.pixels
                    return
            with self._using(entry, fcntl.LOCK_EX), self._writing():
                if entry.read(source) is None:
                    self._make_room(entry, bytes_needed if keep_pixels else 0)
                    entry.write(source, progress=progress)

    def can_hold(self, wanted: int) -> bool:
        """Whether `wanted` bytes fit once all entries are deleted that other images have here."""
        return wanted <= min(self.limit, free_space(self._place) + self._used() - RESERVE)

    @property
    def _place(self) -> Path:
        return self.folder / "decoded"

    def _entries(self) -> list[Entry]:
        with suppress(FileNotFoundError, NotADirectoryError):
            return [Entry(path, keep_pixels=True) for path in self._place.iterdir()]
        return []

    def _used(self) -> int:
        return sum(entry.bytes for entry in self._entries())

    def _make_room(self, entry: Entry, wanted: int) -> None:
        """Delete entries, those not used for longest first, until `wanted` bytes more fit. Entries in use stay."""
        missing = max(0, wanted - entry.bytes)
        others = [other for other in self._entries() if other.folder != entry.folder]
        others.sort(key=lambda other: other.last_use)
        while (problem := self._problem(missing)) and others:
            _delete_unused(others.pop(0))
        if problem:
            raise StorageUnavailable(
                f"the decoded images need about {gigabytes(wanted)} in {self.folder}, but {problem}; free some space, "
                f"name a folder on a larger disk by --set cache_folder=FOLDER, or give --set cache=stream"
            )

    def _problem(self, missing: int) -> str | None:
        used, free = self._used(), free_space(self._place)
        if used + missing > self.limit:
            return f"{gigabytes(used)} of its {gigabytes(self.limit)} are in use (cache_limit)"
        if missing and free - RESERVE < missing:
            return f"{gigabytes(free)} are free on that disk"
        return None

    @contextmanager
    def _using(self, entry: Entry, kind: int) -> Iterator[None]:
        with self._writing():
            handle = _lock(entry.folder, kind)
        try:
            yield
        finally:
            os.close(handle)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Errors of the file system as one line each."""
        try:
            yield
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise InputInvalid(
                f"the cache folder {self.folder} cannot be used ({error.strerror}: {error.filename}); choose another "
                f"one by --set cache_folder=FOLDER"
            ) from error
        except OSError as error:
            raise StorageUnavailable(
                f"cannot write decoded images to {self.folder} ({error.strerror or error}); free some space or make "
                f"it writable, choose another folder by --set cache_folder=FOLDER, or give --set cache=stream; the "
                f"same command resumes"
            ) from error


def free_space(folder: Path) -> int:
    """Bytes that are free on the disk of `folder`, which need not exist yet."""
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    found = os.statvfs(existing)
    return found.f_bavail * found.f_frsize


def _lock(folder: Path, kind: int) -> int:
    """A descriptor of the folder, made if it is missing, with a lock of the `kind`; waits for it."""
    waited = False
    while (handle := try_lock(folder, kind)) is None:
        if not waited:
            note("another process decodes the same images; waiting for it")
        waited = True
        time.sleep(0.2)
    return handle


def _delete_unused(entry: Entry) -> None:
    """Delete an entry unless a process uses it, or that cannot be known."""
    with suppress(OSError):
        handle = os.open(entry.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            entry.delete()
        finally:
            os.close(handle)


def gigabytes(size: float) -> str:
    return f"{size / GB:,.1f} GB" if size >= 0.1 * GB else f"{size / 10**6:,.1f} MB"
