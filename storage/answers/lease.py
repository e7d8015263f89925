"""Leases: one run at a time works on a directory of answers, on this machine or any that shares the store.

On a disk the lease is a lock of the operating system, which ends with its process. Object stores have no locks; there a
run leaves a claim beside the directory and renews it, and one that is no longer renewed counts for nothing.
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
TRIES = 4  # of runs that start at the same moment and give way to each other
# What filesystems without locks say.
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class DirectoryBusy(RunFailed):
    """Another run is at work on a directory of answers; the message names it."""


@contextmanager
def lease(*directories: AnswerDirectory) -> Iterator[None]:
    """A block in which no other run extracts into `directories`, imports into them or prunes them. First, what killed
    runs have left unfinished is removed.

    Raises DirectoryBusy at once where another run is at work, and StorageUnavailable.
    """
    with ExitStack() as held:
        # In one order, so that two runs that want the same ones cannot each get one of them.
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
        path.unlink(missing_ok=True)  # while it is locked: no other run may hold the name
        os.close(file)


def _open_locked(path: Path, directory: AnswerDirectory) -> int | None:
    """A descriptor of the locked, empty file; None where the filesystem has no locks. Raises DirectoryBusy."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The run before may have removed the file between our opening and locking it.
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
            # A store that is out of reach now may be there when it is tried next; the claim lives that long.
            with contextlib.suppress(OSError):
                _write(filesystem, path)

    renewing = threading.Thread(target=renew, name="lease", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        ended.set()
        renewing.join()
        with contextlib.suppress(OSError):  # out of reach: it ends by itself
            filesystem.delete_file(path)


def _win(directory: AnswerDirectory, path: str) -> None:
    """Put our claim at `path` where there is no other. Raises DirectoryBusy and StorageUnavailable.

    A run that writes and then lists sees every claim that was written before: of two runs at least one sees the other,
    and gives way.
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
    """Claims of other runs that are alive; those of dead ones are removed."""
    prefix = f".claim-{directory.folder}-"
    claims = [info for info in list_folder(directory.filesystem, directory.parent) if info.base_name.startswith(prefix)]
    # Times are those of the store: clocks of machines differ.
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
    """What process ids belong to: a machine since its start, and a container in it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return socket.gethostname()


def _parsed(holder: bytes) -> dict[str, Any]:
    try:
        found = json.loads(holder)
    except ValueError:  # not yet written, or gone
        return {}
    return found if isinstance(found, dict) else {}


def _is_dead(holder: bytes) -> bool:
    """Whether a claim's process was one of this machine and has ended."""
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
    """Those that no run is at work on, each held while the caller has it."""
    for directory in directories:
        try:
            with lease(directory):
                yield directory
        except DirectoryBusy:
            continue
