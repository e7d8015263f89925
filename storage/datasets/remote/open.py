"""Open a folder of images or a table behind an address."""

from __future__ import annotations

from storage.datasets.base import DatasetInvalid, ImageDataset
from storage.datasets.files import TABLE_SUFFIXES
from storage.datasets.folder import folder_dataset
from storage.datasets.hold_out import with_held_out
from storage.datasets.remote.files import is_hub
from storage.datasets.remote.tree import RemoteTree
from storage.datasets.specification import Specification
from storage.datasets.table.dataset import OPTIONS
from storage.datasets.table.metadata import is_metadata_folder, metadata_files, split_tables
from storage.datasets.table.read import read_tables
from storage.errors import InputInvalid


def remote_dataset(source: str, *, name: str | None = None, tables: bool = False) -> ImageDataset:
    """Open `s3://BUCKET/FOLDER`, `gs://...` or `hf://datasets/OWNER/NAME/FOLDER`: a folder of images or a table.

    Options are those of tables and folders; others, such as `endpoint_override`, are for the object store. With
    `tables` the folder holds a table for each split. Raises DatasetInvalid, and StorageUnavailable if the server cannot
    be reached.
    """
    asked, address = _options(source)
    folder, _, file = asked.place.rpartition("/")
    try:
        if file.lower().endswith(TABLE_SUFFIXES):
            tree = RemoteTree(address.replace(asked.place, folder, 1))
            if not tree.is_file(file):
                raise DatasetInvalid(f"no file at {tree.at(file)}; check the address")
            return read_tables(tree, [(None, file)], asked, name or tree.name)
        tree = RemoteTree(address)
        if tables or is_metadata_folder(tree):
            return read_tables(tree, metadata_files(tree) or split_tables(tree), asked, name or tree.name)
        asked.allow(("test",))
        return with_held_out(folder_dataset(tree, name=name), asked.share("test"))
    except InputInvalid as error:
        if isinstance(error, DatasetInvalid):
            raise
        raise DatasetInvalid(str(error)) from error


def _options(source: str) -> tuple[Specification, str]:
    """Return the place with our options, and the address with the settings of the object store."""
    whole = Specification.parse(source)
    ours = {name: value for name, value in whole.options.items() if name in OPTIONS}
    theirs = "&".join(f"{name}={value}" for name, value in whole.options.items() if name not in OPTIONS)
    if theirs and is_hub(source):
        whole.allow(OPTIONS)
    place = whole.place if whole.place.endswith("://") else whole.place.rstrip("/")
    return Specification(place, ours), f"{place}?{theirs}" if theirs else place
