from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from storage import table_writer
from storage.table_writer import open_table, require_table_name
from storage.tables import TableInvalid

FRAMES = [pl.DataFrame({"name": [f"image {n}"], "share": [n / 4], "top": [[{"class": "a", "p": 0.5}]]}) for n in (1, 2)]


@pytest.mark.parametrize("name", ["new/table.parquet", "table.jsonl", "table.json", "table.PARQUET"])
def test_rows_of_several_frames_are_one_table(tmp_path: Path, name: str) -> None:
    with open_table(tmp_path / name) as table:
        for frame in FRAMES:
            table.write(frame)
            assert not (tmp_path / name).exists()
    found = pl.read_parquet(tmp_path / name) if "arquet" in name.lower() else pl.read_ndjson(tmp_path / name)
    assert found.to_dicts() == pl.concat(FRAMES).to_dicts()


def test_csv_has_one_header(tmp_path: Path) -> None:
    with open_table(tmp_path / "table.csv") as table:
        for frame in FRAMES:
            table.write(frame.drop("top"))
    assert (tmp_path / "table.csv").read_text() == "name,share\nimage 1,0.25\nimage 2,0.5\n"


def test_json_has_an_object_a_line(tmp_path: Path) -> None:
    with open_table(tmp_path / "table.jsonl") as table:
        table.write(FRAMES[0])
    (line,) = (tmp_path / "table.jsonl").read_text().splitlines()
    assert json.loads(line) == FRAMES[0].to_dicts()[0]


def test_row_groups_of_parquet_hold_many_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_writer, "ROW_GROUP", 3)
    with open_table(tmp_path / "table.parquet") as table:
        for frame in FRAMES * 4:
            table.write(frame)
    assert pq.ParquetFile(tmp_path / "table.parquet").num_row_groups == 3


def test_an_error_leaves_the_table_before_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("before")
    with pytest.raises(pl.exceptions.ComputeError), open_table(path) as table:
        table.write(FRAMES[0])  # CSV has no lists
    assert [found.name for found in tmp_path.iterdir()] == ["table.csv"]
    assert path.read_text() == "before"


def test_names_of_no_table_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TableInvalid, match=r"table\.xls has no known suffix; name a file \*\.parquet"):
        require_table_name(tmp_path / "table.xls")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(TableInvalid, match=r"folder\.csv is a folder; name a file in it"):
        require_table_name(tmp_path / "folder.csv")
