"""The store's root is a URI: a local path, or an object store that pyarrow knows (`s3://`, `gs://`)."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from pyarrow import fs

from storage.errors import InputInvalid


class StoreUnreachable(InputInvalid):
    """The store's address cannot be used; the message says what and what to do."""


def open_root(uri: str) -> tuple[fs.FileSystem, str]:
    """The filesystem of `uri` and the path in it. Raises StoreUnreachable for an address that pyarrow cannot open."""
    if "://" not in uri:
        return fs.LocalFileSystem(), Path(uri).expanduser().resolve().as_posix()
    if uri.startswith("s3://") and "allow_delayed_open=" not in uri:
        # Small files go up in one request, instead of three for a multipart upload that a kill would leave open.
        uri += ("&" if "?" in uri else "?") + "allow_delayed_open=true"
    try:
        filesystem, path = fs.FileSystem.from_uri(uri)
    except (OSError, ValueError) as error:
        raise StoreUnreachable(f"cannot open store {uri}: {error}; use a folder or s3://bucket/path") from error
    return filesystem, path


def subfolder(uri: str, name: str) -> str:
    """The address of the folder `name` in the root `uri`; what follows a question mark stays at its end."""
    path, mark, settings = uri.partition("?") if "://" in uri else (uri, "", "")
    return f"{path.rstrip('/')}/{name}{mark}{settings}"


def read_file(filesystem: fs.FileSystem, path: str) -> bytes:
    """The whole file. Raises OSError (FileNotFoundError where there is none)."""
    with filesystem.open_input_stream(path) as stream:
        return bytes(stream.read())


def write_whole(filesystem: fs.FileSystem, path: str, data: bytes) -> None:
    """Let `path` appear with all of `data` or not at all; a file that was there is replaced.

    Local: written beside the folder, fsynced, renamed. Object stores show an object only when its upload is complete.
    """
    if not isinstance(filesystem, fs.LocalFileSystem):
        with filesystem.open_output_stream(path) as stream:
            stream.write(data)
        return
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside the folder, not in it: Polars refuses a folder of Parquet files that holds anything else.
    beside = target.parent.with_name(f"{unfinished_prefix(target.parent.name)}{target.name}.{uuid.uuid4().hex}")
    _write_and_rename(beside, target, data)


def write_file(path: Path, data: bytes) -> None:
    """The same for a file of the user's own, in whose folder nothing minds another one for a moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_and_rename(path.with_name(f".{path.name}.{uuid.uuid4().hex}"), path, data)


def unfinished_prefix(folder: str) -> str:
    """How the names of unfinished files for a folder begin; a killed process leaves them beside it."""
    return f".unfinished-{folder}-"


def _write_and_rename(beside: Path, target: Path, data: bytes) -> None:
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself is only durable once the folder is
    finally:
        os.close(folder)


def list_folder(filesystem: fs.FileSystem, path: str) -> list[fs.FileInfo]:
    """What lies directly in a folder, by name; nothing where there is no such folder."""
    found = filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True))
    return sorted(found, key=lambda info: info.base_name)
