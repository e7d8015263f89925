"""One Parquet or Arrow file: its columns, and the image of any row."""

from __future__ import annotations

import json
import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.datasets.base import DatasetInvalid
from storage.filesystem import reason

SUFFIXES = (".parquet", ".pq", ".arrow", ".feather")
CACHED = 3  # row groups of a process: images are read in their order


class ImageFile:
    """An open file. Raises DatasetInvalid if it cannot be read as Parquet or Arrow."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            if path.suffix.lower() in (".parquet", ".pq"):
                self._parquet: pq.ParquetFile | None = pq.ParquetFile(path, memory_map=True)
                self.schema = self._parquet.schema_arrow
                sizes = [self._parquet.metadata.row_group(n).num_rows for n in range(self._parquet.num_row_groups)]
            else:
                self._parquet = None
                self._batches = _read_arrow(path)
                self.schema = self._batches.schema
                sizes = [batch.num_rows for batch in self._batches.to_batches()]
        except (pa.ArrowException, OSError) as error:
            raise DatasetInvalid(f"cannot read {path} as a table of images ({reason(error)}); copy it again") from error
        self._starts = [0, *accumulate(sizes)]

    def __len__(self) -> int:
        return self._starts[-1]

    def column(self, name: str) -> pa.ChunkedArray:
        """Return a whole column; `image.path` names a field of a column."""
        if self._parquet is not None:
            found = self._parquet.read(columns=[name]).column(0)
        else:
            found = self._batches.column(name.partition(".")[0])
        field = name.partition(".")[2]
        if not field:
            return found
        return pa.chunked_array([chunk.field(field) for chunk in found.chunks], found.type.field(field).type)

    def image(self, column: str, row: int) -> bytes | None:
        """Return the bytes of an image, None for an empty cell. Raises OSError if the file has become unreadable."""
        if self._parquet is None:
            return _bytes(self._batches.column(column)[row])
        group = bisect_right(self._starts, row) - 1
        try:
            cells = self._group(group, column)
        except pa.ArrowException as error:
            raise OSError(f"cannot read row {row} of {self.path} ({reason(error)})") from error
        return _bytes(cells[row - self._starts[group]])

    def _group(self, group: int, column: str) -> pa.ChunkedArray:
        with _lock:
            key = str(self.path), group, column
            if key in _groups:
                _groups.move_to_end(key)
                return _groups[key]
            assert self._parquet is not None
            cells = self._parquet.read_row_group(group, columns=[column]).column(0)
            _groups[key] = cells
            while len(_groups) > CACHED:
                _groups.popitem(last=False)
            return cells


_groups: OrderedDict[tuple[str, int, str], pa.ChunkedArray] = OrderedDict()
_lock = threading.Lock()


def _read_arrow(path: Path) -> pa.Table:
    """Map a file into memory; Hugging Face writes the stream format, others the file format."""
    source = pa.memory_map(os.fspath(path))
    try:
        return pa.ipc.open_stream(source).read_all()
    except pa.ArrowInvalid:
        return pa.ipc.open_file(source).read_all()


def _bytes(cell: pa.Scalar) -> bytes | None:
    value = cell.as_py()
    if isinstance(value, dict):
        value = value.get("bytes")
    return value if isinstance(value, bytes) else None


def image_columns(schema: pa.Schema) -> list[str]:
    """Return the columns that are structs with `bytes`, or else the binary ones."""
    structs = [field.name for field in schema if pa.types.is_struct(field.type) and _has_bytes(field.type)]
    return structs or [field.name for field in schema if _is_binary(field.type)]


def _has_bytes(kind: pa.StructType) -> bool:
    place = kind.get_field_index("bytes")
    return place >= 0 and _is_binary(kind.field(place).type)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def listed_classes(schema: pa.Schema, column: str) -> Sequence[str] | None:
    """Return the names of a ClassLabel from Hugging Face's metadata; None for a column of another type."""
    try:
        found: Any = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        feature = found["info"]["features"][column]
    except (ValueError, KeyError, TypeError):
        return None
    names = feature.get("names") if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" else None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None
