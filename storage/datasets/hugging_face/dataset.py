"""Hugging Face datasets: from the Hub, a folder of Parquet files or images, or written by `save_to_disk`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qsl

from storage.datasets.base import DatasetInvalid, ImageRecord, ListedImages
from storage.datasets.files import missing_classes
from storage.datasets.hugging_face.labels import read_labels, refuse_other_lists
from storage.hub import find_on_hub
from storage.images.decode import read_image_file

if TYPE_CHECKING:
    import datasets

OPTIONS = ("image", "label", "config", "revision", "split")
SPLIT_ORDER = ("train", "val", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class TableDataset(ListedImages[tuple[str, int]]):
    """A dataset with images in cells of Arrow tables; a place is a split and the number of its row."""

    tables: Mapping[str, datasets.Dataset] = field(repr=False)  # one column: the undecoded image

    def read(self, image_id: str) -> bytes:
        split, row = self.places[image_id]
        table = self.tables[split]
        cell = table[row][table.column_names[0]]
        if cell and cell["bytes"] is not None:
            return bytes(cell["bytes"])
        if cell and cell["path"]:
            return read_image_file(Path(cell["path"]))
        raise FileNotFoundError(f"row {row} of split '{split}' of '{self.name}' holds no image")

    def subset(self, records: Sequence[ImageRecord]) -> Self:
        part = super().subset(records)
        splits = {split for split, _ in part.places.values()}
        # Tables are pickled as the names of the files that hold them.
        tables = {split: table for split, table in self.tables.items() if split in splits}
        return replace(part, tables=tables)


def hugging_face_dataset(source: str, *, name: str | None = None, cache: Path | None = None) -> TableDataset:
    """Read the dataset `NAME[?option=value&...]`, with NAME on the Hub or a local folder or Parquet file.

    Options: `image` and `label` name the columns, by default the only one of type Image and the only ClassLabel (or the
    one called "label"); `config`, `revision`; `split` selects splits, separated by commas. Splits keep their names and
    the order of their rows. `image_id` is the image's own path if it is unique and the same on every machine, else
    `split/row`. `cache` replaces Hugging Face's own cache folder. A dataset of the Hub is downloaded at its first use,
    unless HF_HUB_OFFLINE=1. Raises DatasetInvalid.
    """
    where, _, query = source.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := sorted(options.keys() - set(OPTIONS)):
        raise DatasetInvalid(f"hf:{source} has unknown option '{unknown[0]}'; known are {', '.join(OPTIONS)}")
    splits = _wanted(_load(where, options, cache), where, options.get("split"))

    first = next(iter(splits.values()))
    image = options.get("image") or _image_column(first.features, where)
    label = options.get("label") or _label_column(first.features, where)
    for split, table in splits.items():
        for column in (image, label):
            if column not in table.column_names:
                raise DatasetInvalid(_without_column(column, split, splits, where))
    refuse_other_lists(Path(where).expanduser(), first.features, label, where)
    class_names, labels = read_labels(
        {split: table.select_columns([label]) for split, table in splits.items()}, label, where
    )
    tables = {split: _undecoded(table, image, where) for split, table in splits.items()}

    records: list[ImageRecord] = []
    rows: dict[str, tuple[str, int]] = {}
    for split, image_ids in _image_ids(tables, Path(where)).items():
        for row, (image_id, number) in enumerate(zip(image_ids, labels[split], strict=True)):
            records.append(ImageRecord(image_id=image_id, split=split, label=number, label_name=class_names[number]))
            rows[image_id] = (split, row)
    own_name = Path(where).name.removesuffix(".parquet")
    return TableDataset(
        name=name or own_name,
        class_names=class_names,
        records=records,
        tables=tables,
        places=rows,
        notes=missing_classes(records, class_names),
    )


def _without_column(column: str, split: str, splits: Mapping[str, datasets.Dataset], where: str) -> str:
    columns = ", ".join(splits[split].column_names)
    message = f"hf:{where} has no column '{column}' in split '{split}'; it has {columns}"
    having = [other for other, table in splits.items() if column in table.column_names]
    return f"{message}; take others only: hf:{where}?split={','.join(having)}" if having else message


def _load(where: str, options: Mapping[str, str], cache: Path | None) -> datasets.DatasetDict:
    try:
        # Optional, and slow to import.
        import datasets
    except ModuleNotFoundError as error:
        raise DatasetInvalid(f"hf:{where} needs Hugging Face's library; pip install 'aspects[huggingface]'") from error

    path = Path(where).expanduser()
    try:
        if any((path / marker).is_file() for marker in ("dataset_dict.json", "state.json")):
            loaded = datasets.load_from_disk(path)
        elif path.is_file():
            loaded = datasets.load_dataset("parquet", data_files=str(path), cache_dir=_text(cache))
        else:
            if not path.is_dir():
                find_on_hub(where, "dataset", options.get("revision"))
            loaded = datasets.load_dataset(
                str(path) if path.is_dir() else where,
                name=options.get("config"),
                revision=options.get("revision"),
                cache_dir=_text(cache),
            )
    # Errors of the Hub, its caches and Arrow share no base class.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise DatasetInvalid(
            f"cannot load hf:{where} ({reason}); check the name, ?config=... and the network, or set HF_HUB_OFFLINE=1 "
            "where it was downloaded before"
        ) from error
    if isinstance(loaded, datasets.Dataset):
        return datasets.DatasetDict({str(loaded.split or "train"): loaded})
    return loaded


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _wanted(loaded: datasets.DatasetDict, where: str, wanted: str | None) -> dict[str, datasets.Dataset]:
    names = sorted(loaded, key=lambda split: SPLIT_ORDER.index(split) if split in SPLIT_ORDER else len(SPLIT_ORDER))
    if wanted is not None:
        for split in wanted.split(","):
            if split not in loaded:
                raise DatasetInvalid(f"hf:{where} has no split '{split}'; it has {', '.join(names)}")
        names = [split for split in names if split in wanted.split(",")]
    return {split: loaded[split] for split in names}


def _image_column(features: datasets.Features, where: str) -> str:
    import datasets

    return _only([name for name, kind in features.items() if isinstance(kind, datasets.Image)], "image", where)


def _label_column(features: datasets.Features, where: str) -> str:
    import datasets

    typed = [name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    return _only(typed or [name for name in features if name == "label"], "label", where)


def _only(columns: list[str], what: str, where: str) -> str:
    if len(columns) != 1:
        found = f"several {what} columns ({', '.join(columns)})" if columns else f"no {what} column"
        raise DatasetInvalid(f"hf:{where} has {found}; name it: hf:{where}?{what}=COLUMN")
    return columns[0]


def _undecoded(table: datasets.Dataset, image: str, where: str) -> datasets.Dataset:
    import datasets

    if not isinstance(table.features[image], datasets.Image):
        raise DatasetInvalid(f"column '{image}' of hf:{where} holds {table.features[image]}, not images; name another")
    return table.select_columns([image]).cast_column(image, datasets.Image(decode=False))


def _image_ids(tables: Mapping[str, datasets.Dataset], folder: Path) -> dict[str, list[str]]:
    named = {split: _own_paths(split, table, folder) for split, table in tables.items()}
    every = [path for paths in named.values() for path in paths]
    if None not in every and len(set(every)) == len(every):
        return {split: [path for path in paths if path is not None] for split, paths in named.items()}
    return {split: [f"{split}/{row:07d}" for row in range(len(table))] for split, table in tables.items()}


def _own_paths(split: str, table: datasets.Dataset, folder: Path) -> list[str | None]:
    import pyarrow.compute as pc

    if len(table) == 0:
        return []
    cells = table.with_format("arrow")[:].column(0)  # memory-mapped: the bytes beside the paths are not read
    paths = [None if not path else Path(path) for path in pc.struct_field(cells, "path").to_pylist()]
    return [None if path is None else _stable(split, path, folder) for path in paths]


def _stable(split: str, path: Path, folder: Path) -> str | None:
    """Return the path below the dataset's folder, or the path stored with embedded bytes; None for one in a cache."""
    if not path.is_absolute():
        return f"{split}/{path.as_posix()}"
    base = folder.expanduser().resolve()
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else None
