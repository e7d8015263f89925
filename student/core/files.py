"""Read and write files of a run folder: atomically, with errors of one line."""

from __future__ import annotations

import fcntl
import functools
import glob
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from storage.answers.integrity import FIELDS_KEY, check_fields, field_digests
from storage.documents import MAX_TEXT, DocumentInvalid, parse_json
from storage.errors import InputInvalid, StorageUnavailable, VersionUnsupported
from storage.filesystem import is_at, unfinished_prefix, write_file
from storage.text import as_yaml, printable
from storage.versions import is_newer, is_version

# Of run.json, result.json, checkpoints and evaluations. Release 0.1.0 wrote none: that is version 1. A field that older
# releases may ignore needs no new version.
VERSION = 2
PIXELS = "-pixels.uint8"  # the end of the names of decoded images
UNFINISHED = re.compile(r"\..+\.[0-9a-f]{32}")  # as storage/filesystem.py names a file until it is whole

Kind = TypeVar("Kind")


class RunInvalid(InputInvalid):
    """A run folder cannot be used as asked; the message says why and what to do."""


class RunBusy(StorageUnavailable):
    """Another process trains or evaluates in this folder."""


def unreadable(path: Path, why: object) -> RunInvalid:
    """The error for a file of a run folder that is damaged, or is no such file."""
    return RunInvalid(f"{path} cannot be read ({why}); delete the folder {path.parent} and train again")


def read_bytes(path: Path, *, limit: int) -> bytes:
    """The whole file. Raises FileNotFoundError where there is none, RunInvalid where it is not a file or has more than
    `limit` bytes, StorageUnavailable where it cannot be read right now."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise unreadable(path, "it is not a file")
        if found.st_size > limit:
            raise unreadable(path, f"it is larger than {limit} bytes")
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except NotADirectoryError as error:
        raise RunInvalid(f"{path.parent} is no folder; give the folder of a run") from error
    except OSError as error:
        raise StorageUnavailable(
            f"cannot read {path} ({error.strerror or error}); check its permissions and the disk, then try again"
        ) from error


def exists(path: Path) -> bool:
    """Raises StorageUnavailable where that cannot be found out."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StorageUnavailable(f"cannot look at {path} ({error.strerror}); check its permissions") from error
    return True


def read_json(path: Path) -> dict[str, Any]:
    """The fields of a JSON file of a run folder, without its version. Raises as `read_bytes`, RunInvalid where it holds
    no fields or is not as it was written, and VersionUnsupported for a file of a newer release."""
    try:
        values = parse_json(read_bytes(path, limit=MAX_TEXT), path.name)
    except DocumentInvalid as error:
        raise unreadable(path, error) from error
    if not isinstance(values, dict):
        raise unreadable(path, "it holds no fields")
    require_version(path, values.pop("version", 1))
    try:
        check_fields(values)
    except ValueError as error:
        raise unreadable(path, error) from error
    values.pop(FIELDS_KEY, None)
    return values


def require_version(path: Path, found: object) -> None:
    """Raises VersionUnsupported for a version that this release does not know, RunInvalid for what is none."""
    if is_newer(found, VERSION):
        raise VersionUnsupported(
            f"{path} was written by a newer release (version {printable(str(found), 40)}, this one reads up to "
            f"{VERSION}); install that release, or choose another folder"
        )
    if not is_version(found):
        raise unreadable(path, f"its version is {printable(as_yaml(found), 40)}")


def parse(kind: type[Kind], values: object, path: Path) -> Kind:
    """The fields of a file as the dataclass `kind`; fields that it does not have are ignored: a later release's. Raises
    RunInvalid, naming the file, for those that are missing or of another type."""
    try:
        hashable: Any = kind
        found: Kind = _adapter(hashable).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise unreadable(path, f"{place}: {first['msg'].lower()}" if place else first["msg"].lower()) from error
    return found


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """The fields, their digests and the version, whole or not at all. Raises as `write_bytes`."""
    document = {"version": VERSION, **values, FIELDS_KEY: field_digests(values)}
    write_bytes(path, json.dumps(document, indent=2, ensure_ascii=False).encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Let `path` appear whole or not at all. Raises as `writing`."""
    with writing(path):
        write_file(path, data)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Errors of the file system while `path` is written as StorageUnavailable, or RunInvalid where it can never be."""
    try:
        yield
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        where = error.filename2 or error.filename or path
        raise RunInvalid(f"cannot write {path} ({error.strerror}: {where}); choose another folder") from error
    except OSError as error:
        raise StorageUnavailable(
            f"cannot write {path} ({error.strerror or error}); free some space or make the folder writable, then give "
            f"the same command again: it resumes after what is finished"
        ) from error


def digest_of_file(path: Path) -> str:
    """SHA-256, in hexadecimal. Raises as `read_bytes`."""
    return hashlib.sha256(read_bytes(path, limit=1 << 60)).hexdigest()


@contextmanager
def only_user(folder: Path) -> Iterator[None]:
    """`folder`, made if it is missing, for this process alone while the block runs. Raises RunBusy where another one
    has it; however that one ends, its lock ends with it."""
    handle = _open_locked(folder)
    try:
        yield
    finally:
        os.close(handle)


def _open_locked(folder: Path) -> int:
    """A descriptor of the locked folder. Raises as `only_user`."""
    with writing(folder):
        handle = try_lock(folder, fcntl.LOCK_EX)
    if handle is None:
        raise RunBusy(
            f"another process trains or evaluates in {folder}; wait until it has ended, or choose another folder"
        )
    return handle


def try_lock(folder: Path, kind: int) -> int | None:
    """A descriptor of the folder, made if it is missing, with a lock of the `kind` (of `fcntl.flock`); None while
    another process has a lock that excludes it. Raises OSError where the folder cannot be made or opened."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # removed by another process, as the next
            continue
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        except OSError:  # a file system without locks: nothing can be checked
            return handle
        if is_at(folder, handle):
            return handle
        os.close(handle)


def remove_leftovers(folder: Path) -> None:
    """Delete what a killed process has left in a folder of one run or of several: unfinished files, decoded images.
    Only for the process that holds the folder's lock. What cannot be deleted stays, and so does any other file."""
    unfinished = folder.parent.glob(f"{glob.escape(unfinished_prefix(folder.name))}*")  # as release 0.1.0 named them
    with suppress(OSError):
        for path in [*folder.iterdir(), *unfinished]:
            if path.name.endswith(PIXELS) or UNFINISHED.fullmatch(path.name) or path.parent != folder:
                path.unlink(missing_ok=True)
            elif path.name.startswith(("images-", "photos-")) and any(path.glob(f"*{PIXELS}")):
                remove_cache(path)


def remove_cache(path: Path) -> None:
    """Delete a folder of decoded images. Any other file stays, and the folder with it."""
    with suppress(OSError):
        for file in path.glob(f"*{PIXELS}"):
            file.unlink()
        path.rmdir()
