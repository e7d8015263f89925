"""The answer directories of a store."""

from __future__ import annotations

from pyarrow import fs

from storage.answers.store import AnswerDirectory
from storage.filesystem import list_folder, open_store, subfolder


def audits_of(store: str) -> str:
    """Return the address of the store with answers to audit samples, kept apart from answers about whole datasets."""
    return subfolder(store, "audits")


def answer_directories(store: str, dataset: str | None = None) -> list[AnswerDirectory]:
    """List every answer directory of the store, complete or not, ordered by path.

    Raises StoreUnreachable and StorageUnavailable.
    """
    filesystem, root = open_store(store)
    found = [f"{root}/answers"]
    for partition in ("dataset=", "teacher=", "questions="):
        found = [
            info.path
            for path in found
            for info in list_folder(filesystem, path)
            if info.type == fs.FileType.Directory and info.base_name.startswith(partition)
        ]
    wanted = f"/answers/dataset={dataset}/" if dataset is not None else "/answers/"
    return [AnswerDirectory(filesystem, path) for path in found if wanted in path]
