"""Find the tables of a dataset by their names."""

from __future__ import annotations

from pathlib import Path

from storage.datasets.base import DatasetInvalid
from storage.datasets.files import TABLE_SUFFIXES, is_usual_split, split_rank
from storage.datasets.trees import ImageTree

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
Tables = list[tuple[str | None, str]]  # the split of all rows, or None, and the table's path


def is_table(place: Path) -> bool:
    return place.suffix.lower() in TABLE_SUFFIXES and place.is_file()


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
