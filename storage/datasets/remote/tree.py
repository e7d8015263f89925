"""A folder of images behind an address, and the dataset of its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from storage.datasets.base import DatasetInvalid, ImageRecord, ListedImages, Stamp
from storage.datasets.files import Kind, Skipped, has_image_name, is_visible, suffix_of
from storage.datasets.remote.files import RemoteFile, list_files, read_remote, shown
from storage.documents import MEGABYTE, DocumentInvalid
from storage.images.decode import MAX_BYTES, ImageUnreadable


@dataclass(frozen=True, kw_only=True)
class RemoteDataset(ListedImages[RemoteFile]):
    """A dataset whose images are files behind an address, as they were listed."""

    address: str

    def read(self, image_id: str) -> bytes:
        """Like `ImageDataset.read`; raises StorageUnavailable if the server fails or cannot be reached."""
        file = self.places[image_id]
        if file.size > MAX_BYTES:
            raise ImageUnreadable(f"file of {file.size >> 20} MB, more than {MAX_BYTES >> 20} MB allowed")
        return read_remote(self.address, file)

    def stamp(self, image_id: str) -> Stamp:
        """Return size, modification time and ETag as they were listed when the dataset was opened."""
        file = self.places[image_id]
        return Stamp(file.size, file.mtime_ns, file.etag)


class RemoteTree:
    """An `ImageTree`, listed once. Raises the errors of `list_files`, and DatasetInvalid if there are no files."""

    def __init__(self, address: str, files: Mapping[str, RemoteFile] | None = None, below: str = "") -> None:
        self.address = address
        base = shown(address).rstrip("/")
        self.below = below
        self.place = f"{base}/{below}" if below else base
        self.name = self.place.rpartition("/")[2].partition("@")[0]
        self.parent = self.place.rpartition("/")[0]
        self._files = dict(files if files is not None else _visible(address))
        if not self._files:
            raise DatasetInvalid(f"no files at {self.place}; check the address")
        self._names: dict[str, dict[str, Kind]] = {}
        for path in self._files:
            self._enter(path)

    def _enter(self, path: str) -> None:
        """Enter a file and the folders above it."""
        kind: Kind = "file"
        while True:
            folder, _, name = path.rpartition("/")
            names = self._names.setdefault(folder, {})
            if name in names:
                return
            names[name] = kind
            if not folder:
                return
            path, kind = folder, "folder"

    def at(self, path: str) -> str:
        return f"{self.place}/{path}"

    def subtree(self, folder: str) -> RemoteTree:
        folder = folder.strip("/").removeprefix("./")
        start = f"{folder}/"
        files = {path.removeprefix(start): file for path, file in self._files.items() if path.startswith(start)}
        if not files:
            raise DatasetInvalid(f"no folder at {self.at(folder)}; check the path")
        return RemoteTree(self.address, files, f"{self.below}/{folder}".lstrip("/"))

    def relative(self, path: str) -> str | None:
        return None

    def is_file(self, path: str) -> bool:
        return path in self._files

    def names(self, folder: str = "") -> dict[str, Kind]:
        return dict(sorted(self._names.get(folder, {}).items()))

    def images(self) -> list[str]:
        return sorted(filter(has_image_name, self._files), key=lambda path: path.split("/"))

    def images_below(self, folder: str, skipped: Skipped) -> list[str]:
        below = self._below(folder)
        for path in below:
            if not has_image_name(path):
                skipped.suffixes[suffix_of(path)] += 1
        return sorted(filter(has_image_name, below), key=lambda path: path.split("/"))

    def _below(self, folder: str) -> list[str]:
        found: list[str] = []
        for name, kind in self._names.get(folder, {}).items():
            path = f"{folder}/{name}"
            found += self._below(path) if kind == "folder" else [path]
        return found

    def read(self, path: str, *, limit: int) -> bytes:
        file = self._files.get(path)
        if file is None:
            raise FileNotFoundError(None, "No such file", self.at(path))
        if file.size > limit:
            raise DocumentInvalid(f"{self.at(path)} is larger than the {limit // MEGABYTE} MB that are allowed here")
        return read_remote(self.address, file)

    def dataset(
        self, *, name: str, class_names: Sequence[str], records: Sequence[ImageRecord], notes: tuple[str, ...]
    ) -> RemoteDataset:
        files = {record.image_id: self._files[record.image_id] for record in records}
        return RemoteDataset(
            name=name, class_names=class_names, records=records, address=self.address, places=files, notes=notes
        )


def _visible(address: str) -> dict[str, RemoteFile]:
    return {path: file for path, file in list_files(address) if all(map(is_visible, path.split("/")))}
