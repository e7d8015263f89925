"""The answers of a directory as arrays by column, cached on disk, for fast views of large stores.

CACHE/DIRECTORY/KEY/rows.parquet   one row for each image or box, in the store's order
CACHE/DIRECTORY/KEY/p_yes.npy      p(yes), float32 [Q, I], read by memory mapping
CACHE/DIRECTORY/KEY/summary.npz    see storage/answers/summary.py

DIRECTORY is a digest of the directory's path, KEY one of its manifest, or of sizes and times of its shards while it is
not complete. A cache of another key is deleted: there is one for each directory. Shards are read without the checks of
`read_answers`, since nothing is trained on what is read here.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from storage.answers.damage import AnswersDamaged, AnswersMissing, damage
from storage.answers.schema import AnswerHeader
from storage.answers.store import AnswerDirectory
from storage.datasets.base import BOX_MARK
from storage.filesystem import read_file, reading

LAYOUT = 1  # of the cached files
ROWS_AT_ONCE = 32_768  # of shards read at once
ROW_COLUMNS = ("image_id", "image_sha256", "split", "label_name", "error")


@dataclass(frozen=True, kw_only=True)
class AnswerColumns:
    """All answers of a directory, I images (or boxes) in the store's order and Q questions in the set's.

    `rows` has the columns ROW_COLUMNS; the id of a box is the image's, BOX_MARK and the box's number. `p_yes` is
    float32 [Q, I], NaN where there is no answer. `facts` is the manifest, empty while the directory is not `complete`.
    """

    header: AnswerHeader
    complete: bool
    facts: Mapping[str, Any]
    rows: pl.DataFrame
    p_yes: NDArray[np.float32]
    folder: Path

    @property
    def keys(self) -> tuple[str, ...]:
        return self.header.questions.keys

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Return the classes of the images, sorted."""
        return tuple(sorted(name for name in self.rows["label_name"].unique() if name))

    @cached_property
    def labels(self) -> NDArray[np.int32]:
        """Return the index of each image's class [I], -1 for an image without a class."""
        places = {name: place for place, name in enumerate(self.class_names)}
        found = self.rows["label_name"].replace_strict(places, default=-1, return_dtype=pl.Int32)
        return found.to_numpy()

    @cached_property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.rows["split"].unique(maintain_order=True))

    def question(self, key: str) -> int | None:
        """Return the column of a question; None for an unknown key."""
        return self.keys.index(key) if key in self.keys else None

    def row_of(self, image_id: str) -> int | None:
        """Return the row of an image; None if it has none."""
        found = (self.rows["image_id"] == image_id).arg_true()
        return int(found[0]) if len(found) else None


def read_columns(directory: AnswerDirectory, cache: Path) -> AnswerColumns:
    """Read the answers of a directory, complete or not, from the cache in the folder `cache` or from its shards.

    Raises AnswersMissing for a directory without shards, AnswersDamaged, VersionUnsupported and StorageUnavailable.
    """
    manifest = directory.manifest()
    shards = list(manifest["shards"]) if manifest else directory.shard_files()
    if not shards:
        raise AnswersMissing(f"no answers in {directory.path} yet; run 'aspects extract' again to resume")
    place = cache / _digest(directory.filesystem.type_name, directory.path)
    folder = place / columns_key(directory, manifest)
    header = AnswerHeader.from_json(manifest) if manifest else _header(directory, shards[0])
    if not (folder / "p_yes.npy").is_file():
        sizes = manifest["shards"] if manifest else {name: _rows(directory, name) for name in shards}
        _write(directory, header.questions.keys, sizes, folder)
        _remove_others(folder)
    return AnswerColumns(
        header=header,
        complete=manifest is not None,
        facts=manifest or {},
        rows=pl.read_parquet(folder / "rows.parquet", memory_map=False),
        p_yes=np.load(folder / "p_yes.npy", mmap_mode="r"),
        folder=folder,
    )


def columns_key(directory: AnswerDirectory, manifest: Mapping[str, Any] | None) -> str:
    """Return a digest that changes with the answers."""
    found = {"manifest": manifest} if manifest else {"shards": dict(directory.stamps())}
    return _digest(str(LAYOUT), json.dumps(found, sort_keys=True))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _header(directory: AnswerDirectory, shard: str) -> AnswerHeader:
    return directory.load_shard(shard, ()).header


def _write(directory: AnswerDirectory, keys: Sequence[str], sizes: Mapping[str, int], folder: Path) -> None:
    """Write the cache of shards with their numbers of rows beside its folder, then rename it."""
    beside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    beside.mkdir(parents=True)
    try:
        shape = (len(keys), sum(sizes.values()))
        # Streaming into a memory map keeps ROWS_AT_ONCE rows in memory, or one file.
        p_yes = np.lib.format.open_memmap(beside / "p_yes.npy", "w+", np.float32, shape)  # type: ignore[no-untyped-call]
        rows, start = [], 0
        for some in _groups(sizes):
            found = _read(directory, some, keys)
            if len(found) != sum(sizes[name] for name in some):
                raise AnswersDamaged(
                    f"shards {some[0]} to {some[-1]} of {directory.path} do not have the images of its manifest; run "
                    "'aspects extract' again to replace them"
                )
            rows.append(found.select(ROW_COLUMNS))
            p_yes[:, start : start + len(found)] = found.select(pl.col(keys).fill_null(np.nan)).to_numpy().T
            start += len(found)
        p_yes.flush()
        pl.concat(rows).write_parquet(beside / "rows.parquet")
        try:
            os.rename(beside, folder)
        except OSError:
            if not (folder / "p_yes.npy").is_file():  # else another process has written the same meanwhile
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _groups(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Yield the names of shards that are read at once."""
    group, rows = list[str](), 0
    for name, count in sizes.items():
        if group and rows + count > ROWS_AT_ONCE:
            yield group
            group, rows = [], 0
        group.append(name)
        rows += count
    yield group


def _rows(directory: AnswerDirectory, name: str) -> int:
    """Return the number of rows of a shard. Raises the same errors as `shard_source`, and AnswersDamaged."""
    source = shard_source(directory, name)
    with damage(f"shard {directory.path}/{name}", "replace"):
        found: int = pq.read_metadata(source if isinstance(source, str) else pa.BufferReader(source)).num_rows
        return found


def shard_source(directory: AnswerDirectory, name: str) -> str | bytes:
    """Return a shard as Polars reads it: its path on this machine, else its bytes.

    Raises AnswersDamaged for a missing one, and StorageUnavailable.
    """
    path = f"{directory.path}/{name}"
    try:
        if directory.filesystem.type_name != "local":
            return read_file(directory.filesystem, path)
        with reading(path):
            os.stat(path)
        return path
    except FileNotFoundError as error:
        raise AnswersDamaged(f"shard {path} is missing; run 'aspects extract' again to replace it") from error


def _read(directory: AnswerDirectory, names: Sequence[str], keys: Sequence[str]) -> pl.DataFrame:
    """Return the rows of some shards, with p(yes) in the columns of `keys`."""
    sources = [shard_source(directory, name) for name in names]
    try:
        return _collect(sources, keys)
    except pl.exceptions.PolarsError:
        for name, source in zip(names, sources, strict=True):  # which of them is it?
            with damage(f"shard {directory.path}/{name}", "replace"):
                _collect([source], keys)
        raise


def _collect(sources: Sequence[str | bytes], keys: Sequence[str]) -> pl.DataFrame:
    """Read the rows. Raises PolarsError for files that are not shards of these questions."""
    paths = [source for source in sources if isinstance(source, str)]
    scans = [pl.scan_parquet(paths, hive_partitioning=False)] if paths else [pl.scan_parquet(data) for data in sources]
    shards = pl.concat(scans)
    image_id = pl.col("image_id")
    if "box_id" in shards.collect_schema().names():
        image_id = pl.concat_str("image_id", pl.lit(BOX_MARK), "box_id").alias("image_id")
    log_odds = [pl.col(key).struct.field("yes") - pl.col(key).struct.field("no") for key in keys]
    # tanh does not overflow where exp would.
    p_yes = [(0.5 + 0.5 * (0.5 * value).tanh()).alias(key) for key, value in zip(keys, log_odds, strict=True)]
    return shards.select(image_id, *ROW_COLUMNS[1:], *p_yes).collect()


def _remove_others(folder: Path) -> None:
    """Delete the caches of earlier states of the same directory. A process that still uses one keeps its open file."""
    for other in folder.parent.iterdir():
        if other != folder and not other.name.startswith("."):
            shutil.rmtree(other, ignore_errors=True)
