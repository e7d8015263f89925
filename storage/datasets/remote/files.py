"""List and read files behind an address: `s3://` and `gs://` by pyarrow, `hf://` by Hugging Face's client."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from pyarrow import fs

from storage.datasets.base import DatasetInvalid
from storage.errors import StorageUnavailable
from storage.filesystem import StoreUnreachable, open_root, read_whole, reason, select
from storage.hub import HubUnreachable, find_on_hub

DENIED = re.compile(r"ACCESS_DENIED|HTTP (status|response code) 40[13]|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH")


class RemoteFile(NamedTuple):
    """A listed file; `path` is that in its filesystem, and `etag` changes with its content, if the server has one."""

    path: str
    size: int
    mtime_ns: int
    etag: str = ""


def shown(address: str) -> str:
    """Return an address for messages, without credentials and settings."""
    return re.sub(r"//[^/@]*@(?=[^/])", "//", address.partition("?")[0]) if not is_hub(address) else address


def is_hub(address: str) -> bool:
    return address.startswith("hf://")


@lru_cache(maxsize=8)  # of a process: connections are reused
def open_address(address: str) -> tuple[Any, str]:
    """Return the filesystem and the path in it. Raises DatasetInvalid."""
    if is_hub(address):
        return _hub(), address.removeprefix("hf://").strip("/")
    try:
        filesystem, path = open_root(address)
    except StoreUnreachable as error:
        raise DatasetInvalid(f"{shown(address)} is no address of images; use s3://bucket/folder") from error
    return filesystem, path.rstrip("/")


def _hub() -> Any:
    # Slow to import, and needed for hf:// only.
    from huggingface_hub import HfFileSystem

    return HfFileSystem()


def list_files(address: str) -> Iterator[tuple[str, RemoteFile]]:
    """Yield the files at any depth, with their paths relative to the address. No file is opened.

    Raises DatasetInvalid if there is no such bucket or folder or it must not be listed, and StorageUnavailable if the
    server cannot be reached.
    """
    filesystem, path = open_address(address)
    files = _list_hub(filesystem, path, address) if is_hub(address) else _list_store(filesystem, path, address)
    for file in files:
        if relative := file.path.removeprefix(path).lstrip("/"):
            yield relative, file


def _list_store(filesystem: fs.FileSystem, path: str, address: str) -> Iterator[RemoteFile]:
    """List folder by folder, so that no answer of the server has to hold all files; all at once in Google's storage,
    where pyarrow sees no folders but those that were created as such."""
    at_once = filesystem.type_name == "gcs"
    bucket = path.partition("/")[0]
    if not bucket:
        raise DatasetInvalid(f"{shown(address)} names no bucket; use s3://bucket/folder")
    try:
        first = select(filesystem, fs.FileSelector(path, allow_not_found=True, recursive=at_once))
        if not first and filesystem.get_file_info(bucket).type == fs.FileType.NotFound:
            raise DatasetInvalid(f"there is no bucket '{bucket}' for {shown(address)}; create or correct it")
        folders = [info.path for info in first if info.type == fs.FileType.Directory and not at_once]
        yield from _as_files(first)
        for folder in folders:
            yield from _as_files(select(filesystem, fs.FileSelector(folder, recursive=True)))
    except OSError as error:
        raise _list_error(error, address) from error


def _as_files(found: list[fs.FileInfo]) -> Iterator[RemoteFile]:
    for info in found:
        if info.type == fs.FileType.File:
            yield RemoteFile(info.path, info.size or 0, info.mtime_ns or 0)


def _list_error(error: OSError, address: str) -> Exception:
    if DENIED.search(str(error)):
        return DatasetInvalid(
            f"no permission to list {shown(address)} ({reason(error)}); check the credentials, e.g. "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    return StorageUnavailable(
        f"{shown(address)} cannot be listed right now ({reason(error)}); check the address, the network and "
        "AWS_ENDPOINT_URL, or run the same command again later"
    )


def _list_hub(filesystem: Any, path: str, address: str) -> Iterator[RemoteFile]:
    match = re.match(r"datasets/([^/@]+/[^/@]+)(?:@([^/]+))?(?:/|$)", path)
    if match is None:
        raise DatasetInvalid(f"{address} is no address of images on the Hub; use hf://datasets/OWNER/NAME/folder")
    try:
        find_on_hub(match[1], "dataset", match[2])
        found = filesystem.find(path, detail=True)
    except HubUnreachable as error:
        raise DatasetInvalid(f"cannot list {address} ({error}); check the name, the token and the network") from error
    # Errors of the Hub and of its HTTP library share no base class.
    except Exception as error:
        raise StorageUnavailable(
            f"{address} cannot be listed right now ({reason(error)}); check the network, or try again later"
        ) from error
    for name, info in found.items():
        etag = (info.get("lfs") or {}).get("sha256") or info.get("blob_id") or ""
        yield RemoteFile(name.lstrip("/"), info.get("size") or 0, 0, str(etag))


def read_remote(address: str, file: RemoteFile) -> bytes:
    """Return the contents of a file. Raises FileNotFoundError, and StorageUnavailable for any other failure."""
    filesystem, _ = open_address(address)
    try:
        if is_hub(address):
            return bytes(filesystem.cat_file(file.path))
        return read_whole(filesystem, file.path)
    except FileNotFoundError:
        raise
    # pyarrow raises OSError; the Hub's client has errors of any type.
    except Exception as error:
        raise StorageUnavailable(
            f"cannot read {file.path} of {shown(address)} right now ({reason(error)}); run the same command again later"
        ) from error
