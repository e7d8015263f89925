"""Files of a store, whose root is a URI: a local path, or an object store supported by pyarrow (`s3://`, `gs://`)."""

from __future__ import annotations

import errno
import os
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO

from pyarrow import fs

from storage.errors import InputInvalid, StorageUnavailable
from storage.text import printable

LONGEST_REASON = 250
CONNECT_SECONDS, SILENT_SECONDS = 2.0, 3.0
ATTEMPTS, ATTEMPTS_TO_FIND = 3, 2
GOOGLE_SECONDS = 5
MARK_BYTES = 16


class StoreUnreachable(InputInvalid):
    """The store's address cannot be used; the message says why and what to do."""


def open_root(uri: str) -> tuple[fs.FileSystem, str]:
    """Return the filesystem of `uri` and the path in it.

    Raises StoreUnreachable for an address that pyarrow cannot open.
    """
    try:
        if "://" not in uri:
            if not uri.strip():
                raise ValueError("its name is empty")
            if re.match(r"(s3|gs|gcs|file|https?):", uri):
                raise ValueError("two slashes belong behind the colon")
            return fs.LocalFileSystem(), Path(uri).expanduser().resolve().as_posix()
        filesystem, path = fs.FileSystem.from_uri(_with_settings(uri))
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: ~NAME of an unknown user
        raise StoreUnreachable(f"cannot open store {uri}: {reason(error)}; use a folder or s3://bucket/path") from error
    if not isinstance(filesystem, fs.S3FileSystem):
        return filesystem, path
    return with_attempts(filesystem), path


def with_attempts(filesystem: fs.FileSystem) -> fs.FileSystem:
    """Return the filesystem with time limits on S3 requests; pickling a filesystem loses them."""
    return _with_attempts(filesystem, ATTEMPTS) if isinstance(filesystem, fs.S3FileSystem) else filesystem


def open_store(uri: str) -> tuple[fs.FileSystem, str]:
    """Like `open_root`, for a folder of answers.

    Raises StoreUnreachable also if the address is a file or its bucket does not exist, and StorageUnavailable if the
    server does not answer.
    """
    filesystem, path = open_root(uri)
    if isinstance(filesystem, fs.LocalFileSystem):
        with reading(path):
            existing = next(place for place in (Path(path), *Path(path).parents) if place.exists())
            if not existing.is_dir():
                raise StoreUnreachable(f"cannot open store {uri}: {existing} is a file; name a folder")
    elif filesystem.type_name in ("s3", "gcs"):
        bucket = path.partition("/")[0]
        if not bucket:
            raise StoreUnreachable(f"store {uri} names no bucket; use s3://bucket/path")
        if not _is_there(uri, bucket, os.environ.get("AWS_ENDPOINT_URL")):
            raise StoreUnreachable(f"cannot open store {uri}: there is no bucket '{bucket}'; create it, or correct it")
    return filesystem, path


def _with_settings(uri: str) -> str:
    mark = "&" if "?" in uri else "?"
    if uri.startswith("s3://") and "allow_delayed_open=" not in uri:
        # Small files are uploaded in one request instead of a multipart upload of three, which a kill would leave open.
        return f"{uri}{mark}allow_delayed_open=true"
    if uri.startswith("gs://") and "retry_limit_seconds=" not in uri:
        return f"{uri}{mark}retry_limit_seconds={GOOGLE_SECONDS}"  # the default is 15 minutes
    return uri


def _with_attempts(filesystem: fs.S3FileSystem, attempts: int) -> fs.S3FileSystem:
    """Return the filesystem with time limits. An S3 URI cannot set them, and by default pyarrow retries for minutes."""
    make, (options,) = filesystem.__reduce__()
    limits = {"connect_timeout": CONNECT_SECONDS, "request_timeout": SILENT_SECONDS}
    strategy = fs.AwsStandardS3RetryStrategy(max_attempts=attempts)
    changed: fs.S3FileSystem = make({**options, **limits, "retry_strategy": strategy})
    return changed


@lru_cache(maxsize=64)  # one request per address and server, not per directory of the store
def _is_there(uri: str, bucket: str, endpoint: str | None) -> bool:
    filesystem, _ = fs.FileSystem.from_uri(_with_settings(uri))
    if isinstance(filesystem, fs.S3FileSystem):
        filesystem = _with_attempts(filesystem, ATTEMPTS_TO_FIND)
    try:
        return bool(filesystem.get_file_info(bucket).type != fs.FileType.NotFound)
    except OSError as error:
        # pyarrow has one class for all errors. Access to a folder does not imply access to its bucket.
        if "ACCESS_DENIED" in str(error):
            return True
        where = f" at {endpoint}" if endpoint else ""
        raise StorageUnavailable(
            f"store {uri} cannot be reached{where} ({reason(error)}); check the address, the network and "
            "AWS_ENDPOINT_URL, or try again later"
        ) from error


def reason(error: BaseException) -> str:
    """Return the error's message on one short line."""
    said = error.strerror if isinstance(error, OSError) else None
    return printable(str(said or error) or type(error).__name__, LONGEST_REASON)


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Raise StorageUnavailable for errors of reading in the block; FileNotFoundError passes through."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageUnavailable(
            f"cannot read {path} right now ({reason(error)}); nothing was changed: correct that, or run the same "
            "command again later"
        ) from error


def subfolder(uri: str, name: str) -> str:
    """Return the address of the folder `name` in the root `uri`; a query string stays at the end."""
    path, mark, settings = uri.partition("?") if "://" in uri else (uri, "", "")
    return f"{path.rstrip('/')}/{name}{mark}{settings}"


def read_file(filesystem: fs.FileSystem, path: str) -> bytes:
    """Return the contents of a file. Raises FileNotFoundError and StorageUnavailable."""
    with reading(path):
        return read_whole(filesystem, path)


def read_whole(filesystem: fs.FileSystem, path: str) -> bytes:
    """Like `read_file`, but raises OSError. An answer of an object store that ends early is requested again."""
    if filesystem.type_name != "s3":  # Google's client compares checksums, and what a disk gives is whole
        with filesystem.open_input_stream(path) as stream:
            return bytes(stream.read())
    for _ in range(ATTEMPTS):
        with filesystem.open_input_file(path) as file:
            data = bytearray(file.size())
            # pyarrow takes any answer for a whole one, unless its length is declared: what is missing stays as it was.
            mark = os.urandom(min(MARK_BYTES, len(data)))
            data[len(data) - len(mark) :] = mark
            count = file.readinto(data)
        if count == len(data) and (not data or not data.endswith(mark)):
            return bytes(data)
    raise ConnectionResetError(errno.ECONNRESET, "the server's answer ends early", path)


def write_whole(filesystem: fs.FileSystem, path: str, data: bytes) -> None:
    """Write a file atomically; an existing one is replaced.

    Local files are written next to the folder, fsynced and renamed. Object stores show an object only once its upload
    is complete.
    """
    write_stream(filesystem, path, lambda stream: stream.write(data))


def write_stream(filesystem: fs.FileSystem, path: str, write: Callable[[IO[bytes]], object]) -> None:
    """Like `write_whole`, for a file too large to hold in memory: `write` is called with the opened file."""
    if not isinstance(filesystem, fs.LocalFileSystem):
        with filesystem.open_output_stream(path) as stream:
            write(stream)
        return
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Next to the folder, not in it: Polars refuses a folder that holds anything but Parquet files.
    beside = target.parent.with_name(f"{unfinished_prefix(target.parent.name)}{target.name}.{uuid.uuid4().hex}")
    _write_and_rename(beside, target, write)


def write_file(path: Path, data: bytes) -> None:
    """Like `write_whole`, for a file outside a store: the temporary file is in the same folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_and_rename(path.with_name(f".{path.name}.{uuid.uuid4().hex}"), path, lambda file: file.write(data))


def unfinished_prefix(folder: str) -> str:
    """Return the prefix of temporary files for a folder; a killed process leaves them next to it."""
    return f".unfinished-{folder}-"


def _write_and_rename(beside: Path, target: Path, write: Callable[[IO[bytes]], object]) -> None:
    try:
        with beside.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename is durable only once the folder is synced
    finally:
        os.close(folder)


def is_at(path: Path, handle: int) -> bool:
    """Return whether `path` still names the open file or folder."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def list_folder(filesystem: fs.FileSystem, path: str) -> list[fs.FileInfo]:
    """List the direct contents of a folder by name; empty if it does not exist. Raises StorageUnavailable."""
    with reading(path):
        found = select(filesystem, fs.FileSelector(path, allow_not_found=True))
    return sorted(found, key=lambda info: info.base_name)


def select(filesystem: fs.FileSystem, selector: fs.FileSelector) -> list[fs.FileInfo]:
    """Return what a selector finds. A page of an object store that ends early, and so is no XML, is requested again."""
    for _ in range(ATTEMPTS - 1):
        try:
            return list(filesystem.get_file_info(selector))
        except OSError as error:
            if "XML_ERROR" not in str(error):
                raise
    return list(filesystem.get_file_info(selector))
