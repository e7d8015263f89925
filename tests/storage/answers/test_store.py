"""A store in a local folder keeps the contract, writes nothing but whole files, and is read by Polars alone."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from storage.filesystem import StoreUnreachable, open_root
from tests.storage.contract import StoreContract, write_directory


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path)


class TestLocalStore(StoreContract):
    pass


def test_polars_reads_a_directory_without_our_code(store: str) -> None:
    directory = write_directory(store, damaged=1)
    frame = pl.scan_parquet(directory.path).select("image_id", pl.col("is_red").struct.field("yes")).collect()
    assert frame.height == 5
    assert frame["yes"].null_count() == 2
    assert frame.schema["yes"] == pl.Float32


def test_nothing_but_whole_files_is_left(store: str) -> None:
    folder = Path(write_directory(store).path)
    assert sorted(path.name for path in folder.iterdir()) == ["part-00000.parquet", "part-00001.parquet"]
    assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name, f"{folder.name}.json"]


def test_an_unknown_kind_of_store_is_named() -> None:
    with pytest.raises(StoreUnreachable, match="cannot open store ftp://host/path"):
        open_root("ftp://host/path")
