"""Tables that are written a few rows at a time and appear whole: Parquet, CSV and JSON lines."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

import polars as pl
import pyarrow.parquet as pq

from storage.tables import TableInvalid

ROW_GROUP = 8192  # rows that are collected for a row group of Parquet
JSON_LINES = (".json", ".jsonl", ".ndjson")
SUFFIXES = (".parquet", ".csv", *JSON_LINES)


class Rows(Protocol):
    """An open table: every frame has the same columns."""

    def write(self, frame: pl.DataFrame) -> None: ...

    def close(self) -> None: ...


def require_table_name(path: Path) -> None:
    """Raises TableInvalid for a suffix of no known format, and for a folder."""
    if path.suffix.lower() not in SUFFIXES:
        raise TableInvalid(f"{path} has no known suffix; name a file *.parquet, *.csv or *.jsonl")
    if path.is_dir():
        raise TableInvalid(f"{path} is a folder; name a file in it")


@contextmanager
def open_table(path: Path) -> Iterator[Rows]:
    """A table of the format of the path's suffix, which appears, in place of any before, when the block ends without
    an error: written beside, fsynced, renamed. JSON has one object a line. Raises TableInvalid, and OSError."""
    require_table_name(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with beside.open("wb") as file:
            rows = _rows(path.suffix.lower(), file)
            yield rows
            rows.close()
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _rows(suffix: str, file: IO[bytes]) -> Rows:
    if suffix == ".parquet":
        return _ParquetRows(file)
    return _CsvRows(file) if suffix == ".csv" else _JsonRows(file)


class _ParquetRows:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._writer: pq.ParquetWriter | None = None
        self._frames: list[pl.DataFrame] = []

    def write(self, frame: pl.DataFrame) -> None:
        self._frames.append(frame)
        if sum(map(len, self._frames)) >= ROW_GROUP:
            self._flush()

    def close(self) -> None:
        self._flush()
        if self._writer is not None:
            self._writer.close()

    def _flush(self) -> None:
        if not self._frames:
            return
        table = pl.concat(self._frames).to_arrow()
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._file, table.schema, compression="zstd")
        self._writer.write_table(table)
        self._frames.clear()


class _CsvRows:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._header = True

    def write(self, frame: pl.DataFrame) -> None:
        frame.write_csv(self._file, include_header=self._header)
        self._header = False

    def close(self) -> None:
        pass


class _JsonRows:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, frame: pl.DataFrame) -> None:
        frame.write_ndjson(self._file)

    def close(self) -> None:
        pass
