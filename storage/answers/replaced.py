"""Copies of shards that a run replaces: a killed run loses none of their answers.

They are in `.replaced-questions=<set fingerprint>` next to the directory until it is complete. An image may have moved
from one shard to another, so that a shard that is asked late needs answers from one that was replaced early.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pyarrow import fs

from storage.answers.store import AnswerDirectory
from storage.answers.writing import writing
from storage.filesystem import list_folder

COPIES_AT_ONCE = 8


def replaced_shards(directory: AnswerDirectory) -> AnswerDirectory:
    """Return the directory of the copies, which may not exist."""
    return AnswerDirectory(directory.filesystem, f"{directory.parent}/.replaced-{directory.folder}")


def copy_name(name: str, digest: str) -> str:
    """Return the file name of the copy of a shard; another state of the same shard has another one."""
    return f"{name.removesuffix('.parquet')}.{digest}.parquet"


def copied_names(directory: AnswerDirectory) -> list[str]:
    """Return the file names of the copies. Raises StorageUnavailable."""
    place = replaced_shards(directory)
    return [info.base_name for info in list_folder(place.filesystem, place.path) if info.extension == "parquet"]


def copy_shards(directory: AnswerDirectory, digests: Mapping[str, str]) -> None:
    """Copy shards, by file name with their digests, before they are replaced. Raises StorageUnavailable."""
    if not digests:
        return
    filesystem, place = directory.filesystem, replaced_shards(directory)
    sizes = {info.base_name: info.size for info in list_folder(filesystem, place.path)}

    def copy(name: str, digest: str) -> None:
        source, target = f"{directory.path}/{name}", f"{place.path}/{copy_name(name, digest)}"
        # A copy that a killed run began has another size.
        if sizes.get(copy_name(name, digest)) != filesystem.get_file_info(source).size:
            _copy(filesystem, source, target)

    with writing(place.path), ThreadPoolExecutor(COPIES_AT_ONCE) as threads:
        filesystem.create_dir(place.path)
        for _ in threads.map(copy, digests, digests.values()):
            pass


def remove_copies(directory: AnswerDirectory) -> None:
    """Delete the copies. Raises OSError."""
    place = replaced_shards(directory)
    if copied_names(directory):
        place.filesystem.delete_dir(place.path)


def _copy(filesystem: fs.FileSystem, source: str, target: str) -> None:
    if isinstance(filesystem, fs.LocalFileSystem):
        try:
            Path(target).unlink(missing_ok=True)
            os.link(source, target)
            return
        except OSError:  # a filesystem without hard links
            pass
    filesystem.copy_file(source, target)
