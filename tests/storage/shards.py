"""Shards and manifests that are damaged, newer or out of reach, made from whole ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from storage.answers.store import AnswerDirectory

VERSION_1 = Path(__file__).parent / "data" / "store_version_1"
Change = Callable[[pa.Table], pa.Table]


def rewrite(path: Path, change: Change) -> None:
    """The Parquet file at `path` with its table changed, its metadata kept."""
    pq.write_table(change(pq.read_table(path)), path)


def set_header(path: Path, **fields: Any) -> None:
    """Change fields of a shard's header."""

    def change(table: pa.Table) -> pa.Table:
        header = json.loads(table.schema.metadata[b"aspects"]) | fields
        return table.replace_schema_metadata({**table.schema.metadata, b"aspects": json.dumps(header).encode()})

    rewrite(path, change)


def set_answer(key: str, row: int, **values: float | None) -> Change:
    """One answer of a table becomes another one, or null."""

    def change(table: pa.Table) -> pa.Table:
        rows: list[dict[str, float | None] | None] = table.column(key).to_pylist()
        rows[row] = {**(rows[row] or {}), **values} if values else None
        place = table.column_names.index(key)
        return table.set_column(place, table.schema.field(key), pa.array(rows, table.schema.field(key).type))

    return change


def files_of(store: Path) -> dict[str, bytes]:
    """Every file in a store with what it holds."""
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in store.rglob("*") if path.is_file()}


class Faulty(fs.FileSystemHandler):  # type: ignore[misc]  # pyarrow has no types
    """A local filesystem on which reading, listing or looking at some paths fails; the rest is passed on."""

    def __init__(self, error: OSError, fails: Callable[[str, str], bool]) -> None:
        self.local = fs.LocalFileSystem()
        self.error = error
        self.fails = fails  # of an operation and a path

    def _check(self, operation: str, path: str) -> None:
        if self.fails(operation, path):
            raise self.error

    def get_type_name(self) -> str:
        return "faulty"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> list[fs.FileInfo]:
        for path in paths:
            self._check("look", path)
        return self.local.get_file_info(paths)

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        self._check("list", selector.base_dir)
        return self.local.get_file_info(selector)

    def open_input_stream(self, path: str) -> pa.NativeFile:
        self._check("read", path)
        return self.local.open_input_stream(path)

    def open_input_file(self, path: str) -> pa.NativeFile:
        self._check("read", path)
        return self.local.open_input_file(path)

    def open_output_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        return self.local.open_output_stream(path)

    def open_append_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        return self.local.open_append_stream(path)

    def create_dir(self, path: str, recursive: bool) -> None:
        self.local.create_dir(path, recursive=recursive)

    def delete_dir(self, path: str) -> None:
        self.local.delete_dir(path)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        self.local.delete_dir_contents(path, missing_dir_ok=missing_dir_ok)

    def delete_root_dir_contents(self) -> None:
        # pyarrow wants the method; here it would empty this machine's disk.
        raise NotImplementedError

    def delete_file(self, path: str) -> None:
        self.local.delete_file(path)

    def move(self, source: str, target: str) -> None:
        self.local.move(source, target)

    def copy_file(self, source: str, target: str) -> None:
        self.local.copy_file(source, target)


def faulty(directory: AnswerDirectory, error: OSError, fails: Callable[[str, str], bool]) -> AnswerDirectory:
    return AnswerDirectory(fs.PyFileSystem(Faulty(error, fails)), directory.path)
