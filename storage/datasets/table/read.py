"""Open a dataset by its table."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from storage.datasets.base import DatasetInvalid, ImageDataset
from storage.datasets.files import is_usual_split, split_rank
from storage.datasets.specification import Specification
from storage.datasets.table.dataset import OPTIONS, TableReader
from storage.datasets.trees import ImageTree, LocalTree
from storage.errors import InputInvalid
from storage.tables import MAX_TABLE, TABLE_SUFFIXES, load_table

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
Tables = list[tuple[str | None, str]]  # the split of all rows, or None, and the table's path


def is_table(place: Path) -> bool:
    return place.suffix.lower() in TABLE_SUFFIXES and place.is_file()


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


def is_metadata_folder(tree: ImageTree) -> bool:
    """Return whether tables lie beside the images, as Hugging Face's imagefolder has it, and no class folders do."""
    folders = [name for name, kind in tree.names().items() if kind == "folder"]
    return bool(metadata_files(tree)) and not any("folder" in tree.names(folder).values() for folder in folders)


def metadata_files(tree: ImageTree) -> Tables:
    """Return the file metadata.csv, .jsonl or .parquet of the folder, or else those of the folders of splits."""
    names = tree.names()
    if found := [(None, name) for name in METADATA if name in names]:
        return list(found[:1])
    splits = sorted((name for name in names if is_usual_split(name)), key=lambda name: split_rank(name.casefold()))
    return [
        (split.casefold(), f"{split}/{name}")
        for split in splits
        if names[split] == "folder"
        for name in METADATA
        if name in tree.names(split)
    ]


def split_tables(tree: ImageTree) -> Tables:
    """Return split and name of each table that is called like a split. Raises DatasetInvalid if there are none."""
    found: dict[str, str] = {}
    place = tree.place
    for file in tree.names():
        stem, suffix = Path(file).stem, Path(file).suffix.lower()
        if suffix in TABLE_SUFFIXES and is_usual_split(stem):
            split = stem.casefold()
            if split in found:
                raise DatasetInvalid(f"{place} has two tables of split '{split}': {found[split]} and {file}; keep one")
            found[split] = file
    if not found:
        raise DatasetInvalid(f"no tables in {place}; expected a table of paths and labels, or train.csv and test.csv")
    return [(split, found[split]) for split in sorted(found, key=split_rank)]


def read_tables(folder: ImageTree, tables: Tables, asked: Specification, name: str) -> ImageDataset:
    """Read tables in `folder`. Paths in a table within a folder of it are relative to that folder."""
    images = asked.text("images")
    tree = folder.subtree(images) if images else folder
    reader = TableReader(tree, asked, tree.images())
    for split, file in tables:
        table = load_table(folder.at(file), partial(folder.read, file, limit=MAX_TABLE))
        reader.add(table, split, below=file.rpartition("/")[0])
    return reader.dataset(name)
