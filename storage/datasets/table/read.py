"""Open a dataset by its table."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from storage.datasets.base import DatasetInvalid, ImageDataset
from storage.datasets.specification import Specification
from storage.datasets.table.dataset import OPTIONS, TableReader
from storage.datasets.table.metadata import Tables, metadata_files, split_tables
from storage.datasets.trees import ImageTree, LocalTree
from storage.errors import InputInvalid
from storage.tables import MAX_TABLE, load_table


def table_dataset(asked: Specification, *, name: str | None = None) -> ImageDataset:
    """Read the dataset of a table, or of a folder with a table for each split (train.csv, test.csv, or metadata.csv in
    train/ and test/) or one file metadata.csv.

    Paths are relative to the table's folder, or to the folder within it that the option `images` names. Columns are
    named by the options `image`, `label`, `split` and `group`, or found by their usual names. Rows without a label,
    and those whose label is one of `unlabelled`, are in split `unlabelled`; rows with a label in `drop` are left out.
    `test` holds out a share of the images for testing, `group` keeps images with the same value together, and
    `others=unlabelled` adds the images without a row. Raises DatasetInvalid, naming file and row.
    """
    asked.allow(OPTIONS)
    place = Path(asked.place).expanduser()
    try:
        if place.is_dir():
            tree: ImageTree = LocalTree(place)
            tables = metadata_files(tree) or split_tables(tree)
        else:
            tree = LocalTree(place.parent)
            tables = [(None, place.name)]
        return read_tables(tree, tables, asked, name or tree.name)
    except InputInvalid as error:
        if isinstance(error, DatasetInvalid):
            raise
        raise DatasetInvalid(str(error)) from error


def read_tables(folder: ImageTree, tables: Tables, asked: Specification, name: str) -> ImageDataset:
    """Read tables in `folder`. Paths in a table within a folder of it are relative to that folder."""
    images = asked.text("images")
    tree = folder.subtree(images) if images else folder
    reader = TableReader(tree, asked, tree.images())
    for split, file in tables:
        table = load_table(folder.at(file), partial(folder.read, file, limit=MAX_TABLE))
        reader.add(table, split, below=file.rpartition("/")[0])
    return reader.dataset(name)
