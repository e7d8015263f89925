"""Folders of images, wherever they are: what a reader of a layout needs to know about one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from storage.datasets.base import DatasetInvalid, FileDataset, ImageDataset, ImageRecord
from storage.datasets.files import Kind, Skipped, entries, images_below
from storage.datasets.places import FilesBelow
from storage.documents import read_bytes


class ImageTree(Protocol):
    """A folder of images; paths in it are relative, with forward slashes. `place` names it in messages."""

    @property
    def place(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def parent(self) -> str:
        """Return the folder above, for messages."""
        ...

    def at(self, path: str) -> str:
        """Return the path of a file or folder, for messages."""
        ...

    def subtree(self, folder: str) -> ImageTree:
        """Return the folder within. Raises DatasetInvalid if there is none."""
        ...

    def relative(self, path: str) -> str | None:
        """Return an absolute path as one in this folder; None if it is not below."""
        ...

    def is_file(self, path: str) -> bool: ...

    def names(self, folder: str = "") -> dict[str, Kind]:
        """Return the visible names in a folder and their types, sorted."""
        ...

    def images(self) -> list[str]:
        """Return the image files at any depth, ordered by folder and name."""
        ...

    def images_below(self, folder: str, skipped: Skipped) -> list[str]:
        """Return the image files at any depth below a folder, ordered by folder and name; others go to `skipped`."""
        ...

    def read(self, path: str, *, limit: int) -> bytes:
        """Return the bytes of a file other than an image. Raises OSError, and DocumentInvalid for a larger one."""
        ...

    def dataset(
        self, *, name: str, class_names: Sequence[str], records: Sequence[ImageRecord], notes: tuple[str, ...]
    ) -> ImageDataset:
        """Return the dataset of `records`, whose ids are paths in this folder."""
        ...


class LocalTree:
    """A folder on this machine. Raises DatasetInvalid if there is none."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise DatasetInvalid(f"no folder at {root}; check the path")
        self.root = root
        self.place = str(root)
        self.name = root.resolve().name
        self.parent = str(root.resolve().parent)

    def at(self, path: str) -> str:
        return str(self.root / path)

    def subtree(self, folder: str) -> LocalTree:
        return LocalTree(self.root / Path(folder).expanduser())

    def relative(self, path: str) -> str | None:
        absolute, root = Path(path), self.root.absolute()
        return absolute.relative_to(root).as_posix() if absolute.is_relative_to(root) else None

    def is_file(self, path: str) -> bool:
        return os.path.isfile(os.path.join(self.root, path))

    def names(self, folder: str = "") -> dict[str, Kind]:
        return dict(sorted(entries(self.root / folder)))

    def images(self) -> list[str]:
        real = self.root.resolve()
        found = images_below(real.name, real.parent, Skipped())
        return [path.removeprefix(f"{real.name}/") for path in found]

    def images_below(self, folder: str, skipped: Skipped) -> list[str]:
        return images_below(folder, self.root, skipped)

    def read(self, path: str, *, limit: int) -> bytes:
        return read_bytes(self.root / path, limit=limit)

    def dataset(
        self, *, name: str, class_names: Sequence[str], records: Sequence[ImageRecord], notes: tuple[str, ...]
    ) -> FileDataset:
        places = FilesBelow(self.root, records)
        return FileDataset(name=name, class_names=class_names, records=records, places=places, notes=notes)
