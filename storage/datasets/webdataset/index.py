"""Where the members of a tar file are, so that each can be read without the others.

The index of a file is made once and kept in the user's cache (`$XDG_CACHE_HOME/aspects/tar`) until the file changes.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl

from storage.datasets.base import DatasetInvalid
from storage.datasets.files import has_image_name, is_visible
from storage.filesystem import reason, write_file
from storage.text import is_unicode, printable

VERSION = 1
LABEL_SUFFIXES = ("cls", "json", "txt")
LARGEST_LABEL = 1 << 20  # bytes
SCHEMA = {"name": pl.String, "offset": pl.Int64, "size": pl.Int64, "text": pl.String}


class Member(NamedTuple):
    """A file in a tar file: where its bytes start, their number, and their text for a label, else None."""

    name: str
    offset: int
    size: int
    text: str | None


def read_index(path: Path) -> list[Member]:
    """Return the images and labels in a tar file, in its order. Raises DatasetInvalid for a damaged one."""
    try:
        found = path.stat()
    except OSError as error:
        raise DatasetInvalid(f"cannot read {path} ({reason(error)})") from error
    key = f"{VERSION} {path.resolve()} {found.st_size} {found.st_mtime_ns}"
    cached = _cache() / f"{hashlib.sha256(key.encode('utf-8', 'surrogateescape')).hexdigest()}.parquet"
    # Nothing depends on the cache: without it, or if it is damaged, the file is indexed again.
    with contextlib.suppress(OSError, pl.exceptions.PolarsError):
        return [Member(*row) for row in pl.read_parquet(cached, schema=SCHEMA).iter_rows()]
    members = list(_members(path, found.st_size))
    with contextlib.suppress(OSError):
        buffer = io.BytesIO()
        pl.DataFrame(members, schema=SCHEMA, orient="row").write_parquet(buffer)
        write_file(cached, buffer.getvalue())
    return members


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "aspects" / "tar"


def _members(path: Path, size: int) -> Iterator[Member]:
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if member.offset_data + member.size > size:
                    raise DatasetInvalid(f"{path} is cut off in {printable(member.name, 200)}; copy it again")
                if member.isreg() and is_visible(member.name.rpartition("/")[2]):
                    if not is_unicode(member.name):
                        raise DatasetInvalid(
                            f"{path} has a member whose name is not UTF-8: {printable(member.name, 200)}"
                        )
                    yield from _member(archive, member)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DatasetInvalid(
            f"cannot read {path} as a tar file ({reason(error)}); it must not be compressed, and complete"
        ) from error


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[Member]:
    suffix = member.name.rpartition(".")[2].lower()
    if has_image_name(member.name):
        yield Member(member.name, member.offset_data, member.size, None)
    elif suffix in LABEL_SUFFIXES and member.size <= LARGEST_LABEL and (file := archive.extractfile(member)):
        yield Member(member.name, member.offset_data, member.size, file.read().decode("utf-8-sig", "replace"))
