"""Leases: one run at a time works on an answer directory, among all machines that share the store.

On a disk the lease is a lock of the operating system, which ends with its process. Object stores have no locks: there a
run writes a claim next to the directory and renews it, and a claim that is no longer renewed is ignored.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pyarrow import fs

from storage.answers.store import AnswerDirectory
from storage.errors import RunFailed, StorageUnavailable
from storage.filesystem import is_at, list_folder, read_file, reason, write_whole

RENEWAL_SECONDS, LIFETIME_SECONDS = 20, 90
TRIES = 4  # for runs that start at the same moment and give way to each other
# Errors of filesystems without locks.
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class DirectoryBusy(RunFailed):
    """Another run is working on the answer directory; the message names it."""


@contextmanager
def lease(*directories: AnswerDirectory) -> Iterator[None]:
    """Hold `directories` for the block: no other run extracts into them, imports into them or prunes them.

    Unfinished files of killed runs are removed first. Raises DirectoryBusy at once if another run holds one, and
    StorageUnavailable.
    """
    with ExitStack() as held:
        # In a fixed order, so that two runs cannot each hold a directory that the other waits for.
        for path in sorted({directory.path for directory in directories}):
            directory = next(each for each in directories if each.path == path)
            if isinstance(directory.filesystem, fs.LocalFileSystem):
                held.enter_context(_lock(directory))
            else:
                held.enter_context(_claim(directory))
            directory.sweep()
        yield


@contextmanager
def _lock(directory: AnswerDirectory) -> Iterator[None]:
    path = Path(directory.parent) / f".lock-{directory.folder}"
    with _writing(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _open_locked(path, directory)
    if file is None:
        with _claim(directory):
            yield
        return
    try:
        with _writing(str(path)):
            os.write(file, json.dumps(_this_run()).encode())
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is locked, so that no other run holds the name
        os.close(file)


def _open_locked(path: Path, directory: AnswerDirectory) -> int | None:
    """Return a descriptor of the locked, empty file; None if the filesystem has no locks. Raises DirectoryBusy."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The previous run may have removed the file between our opening and locking it.
            if is_at(path, file):
                os.ftruncate(file, 0)
                return file
            os.close(file)
        except BlockingIOError as error:
            holder = os.read(file, 4096)
            os.close(file)
            raise DirectoryBusy(_busy(directory, holder)) from error
        except OSError as error:
            os.close(file)
            if error.errno not in NO_LOCKS:
                raise
            path.unlink(missing_ok=True)
            return None


@contextmanager
def _claim(directory: AnswerDirectory) -> Iterator[None]:
    path = f"{directory.parent}/.claim-{directory.folder}-{uuid.uuid4().hex}.json"
    filesystem = directory.filesystem
    _win(directory, path)
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(RENEWAL_SECONDS):
            # A store that is out of reach may answer at the next attempt; the claim stays valid until then.
            with contextlib.suppress(OSError):
                _write(filesystem, path)

    renewing = threading.Thread(target=renew, name="lease", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        ended.set()
        renewing.join()
        with contextlib.suppress(OSError):  # out of reach: the claim expires
            filesystem.delete_file(path)


def _win(directory: AnswerDirectory, path: str) -> None:
    """Put our claim at `path` if there is no other. Raises DirectoryBusy and StorageUnavailable.

    A run that writes and then lists sees every claim written before: of two runs at least one sees the other, and gives
    way.
    """
    for attempt in range(TRIES):
        with _writing(path):
            _write(directory.filesystem, path)
        others = list(_others(directory, path))
        if not others:
            return
        holder = _read(directory.filesystem, others[0])
        with _writing(path):
            directory.filesystem.delete_file(path)
        if attempt < TRIES - 1:
            time.sleep(random.uniform(0.05, 0.5))
    raise DirectoryBusy(
        f"{_busy(directory, holder)}; if it was killed on another machine, its claim ends within {LIFETIME_SECONDS} s"
    )


def _others(directory: AnswerDirectory, path: str) -> Iterator[str]:
    """Return the claims of other live runs, and remove those of dead ones."""
    prefix = f".claim-{directory.folder}-"
    claims = [info for info in list_folder(directory.filesystem, directory.parent) if info.base_name.startswith(prefix)]
    # Compare times of the store only: clocks of machines differ.
    now = next((info.mtime_ns for info in claims if info.path == path), None)
    for info in claims:
        if info.path == path:
            continue
        old = now is not None and info.mtime_ns is not None and now - info.mtime_ns > LIFETIME_SECONDS * 1e9
        if old or _is_dead(_read(directory.filesystem, info.path)):
            with contextlib.suppress(OSError):  # another run was faster
                directory.filesystem.delete_file(info.path)
        else:
            yield info.path


@contextmanager
def _writing(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageUnavailable(f"cannot write {path} ({reason(error)}); check its permissions") from error


def _write(filesystem: fs.FileSystem, path: str) -> None:
    write_whole(filesystem, path, json.dumps(_this_run()).encode())


def _read(filesystem: fs.FileSystem, path: str) -> bytes:
    try:
        return read_file(filesystem, path)
    except FileNotFoundError:
        return b""


def _this_run() -> dict[str, Any]:
    return {"host": socket.gethostname(), "machine": _machine(), "pid": os.getpid()}


def _machine() -> str:
    """Return the scope of process ids: a machine since its last boot, and a container on it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return socket.gethostname()


def _parsed(holder: bytes) -> dict[str, Any]:
    try:
        found = json.loads(holder)
    except ValueError:  # not written yet, or removed
        return {}
    return found if isinstance(found, dict) else {}


def _is_dead(holder: bytes) -> bool:
    """Return whether the claim's process ran on this machine and has ended."""
    found = _parsed(holder)
    if found.get("machine") != _machine() or not isinstance(pid := found.get("pid"), int) or pid < 1:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _busy(directory: AnswerDirectory, holder: bytes) -> str:
    found = _parsed(holder)
    holding = (
        f"process {found['pid']} on {found['host']}" if {"pid", "host"} <= found.keys() else "it does not say which"
    )
    return f"another run ({holding}) is at work on {directory.path}; wait until it is done, or stop it"


def free(directories: Iterable[AnswerDirectory]) -> Iterator[AnswerDirectory]:
    """Yield the directories that no run is working on, each held while the caller has it."""
    for directory in directories:
        try:
            with lease(directory):
                yield directory
        except DirectoryBusy:
            continue
