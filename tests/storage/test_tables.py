from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from storage.tables import TableInvalid, read_table

PLAIN = "image_id,red,round\n007.jpg,0.5,1\nb.jpg,0,0.25\n"


def table(folder: Path, content: str | bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read_all(path: Path) -> None:
    found = read_table(path)
    found.names("image_id")
    found.probabilities(found.columns[1:])


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        "\ufeff" + PLAIN,
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN + "\n\n,,\n",
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", ";").replace("0.", "0,"),
        PLAIN.replace(",", "\t"),
        ",image_id,red,round\n0,007.jpg,0.5,1\n1,b.jpg,0,0.25\n",
        "Unnamed: 0,image_id,red,round\n0,007.jpg,0.5,1\n1,b.jpg,0,0.25\n",
        '"image_id", red , round\n"007.jpg", 0.5 ,yes\nb.jpg,No,2.5e-1\n',
        "image_id,red,round\n007.jpg,0.5,TRUE\nb.jpg,false,0.25\n",
        PLAIN.rstrip("\n"),
    ],
)
def test_common_ways_to_write_one_table(tmp_path: Path, content: str) -> None:
    found = read_table(table(tmp_path, content))
    assert found.columns == ["image_id", "red", "round"]
    assert found.names("image_id") == ["007.jpg", "b.jpg"]
    assert found.probabilities(["red", "round"]).tolist() == [[0.5, 1], [0, 0.25]]


def test_text_stays_text(tmp_path: Path) -> None:
    path = table(tmp_path, "label_name,a\n00000,1\n1e3,1\nno,1\n1.0,0\nNA,0\n")
    assert read_table(path).names("label_name") == ["00000", "1e3", "no", "1.0", "NA"]


def test_a_number_late_in_the_column_decides_nothing(tmp_path: Path) -> None:
    rows = "".join(f"{number},{number % 2}\n" for number in range(2000))
    found = read_table(table(tmp_path, f"image_id,a\n{rows}x,0.2\n")).probabilities(["a"])
    assert found[[0, 1, -1], 0].tolist() == [0, 1, 0.2]


@pytest.mark.parametrize("cell", ["", " ", "NA", "nan", "null", "None", "n/a"])
def test_an_empty_cell_is_no_answer(tmp_path: Path, cell: str) -> None:
    found = read_table(table(tmp_path, f"image_id,a,b\nx,{cell},1\n")).probabilities(["a", "b"])
    np.testing.assert_equal(found, [[np.nan, 1]])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 0, None], [1, 0, np.nan]),
        ([True, False, None], [1, 0, np.nan]),
        ([0.5, float("nan"), None], [0.5, np.nan, np.nan]),
        (["yes", "0.5", None], [1, 0.5, np.nan]),
    ],
)
def test_parquet_keeps_its_types(tmp_path: Path, values: list[Any], expected: list[float]) -> None:
    path = tmp_path / "table.pq"
    frame = pl.DataFrame({"__index_level_0__": [0, 1, 2], "image_id": ["a", "b", "c"], "x": values})
    frame.with_columns(pl.col("image_id").cast(pl.Categorical)).write_parquet(path)
    found = read_table(path)
    assert (found.columns, found.names("image_id")) == (["image_id", "x"], ["a", "b", "c"])
    np.testing.assert_equal(found.probabilities(["x"])[:, 0], expected)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("image_id,a\nx,0.5\ny,1.5\n", r"row 3, column 'a': '1\.5' is no probability; write 0\.\.1, yes or no"),
        ("image_id,a\nx,-0.1\n", r"row 2, column 'a': '-0\.1' is no probability"),
        ("image_id,a\n\nx,maybe\n", r"row 3, column 'a': 'maybe' is no probability"),
        ("image_id,a\nx,inf\n", r"row 2, column 'a': 'inf' is no probability"),
        ("image_id,a\nx,1\ny,0\nx,1\n", r"several rows for image_id 'x' \(2 and 4\); keep one"),
        ("image_id,a\n,1\n", r"row 2: column 'image_id' is empty"),
        ("image_id,a\nx,1,2\n", r"row 2 has 3 cells, but there are 2 columns"),
        ("image_id,a,b\nx,1,2\ny,1\n", r"row 3 has 2 cells, but there are 3 columns"),
        ('image_id,a,b\n"x, y",1,2\n"y",1\n', r"row 3 has 2 cells, but there are 3 columns"),
        ("image_id,a,a\nx,1,2\n", r"several columns 'a'"),
        ("image_id,a\n", "has no rows"),
        ("", "begins with an empty line"),
        ("\n1,2\n", "begins with an empty line"),
        ("image_id,größe\nx,1\n".encode("latin-1"), r"is not UTF-8 text \(line 1\); save it as UTF-8"),
        (b"PAR1 no Parquet", "as a table"),
        (bytes(100), "has no rows"),
    ],
)
def test_another_content_is_one_line(tmp_path: Path, content: str | bytes, reason: str) -> None:
    with pytest.raises(TableInvalid, match=reason) as caught:
        read_all(table(tmp_path, content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("column", "values"), [("image_id", [0.5]), ("a", [[1]]), ("a", [{"yes": 1}])])
def test_columns_of_another_kind(tmp_path: Path, column: str, values: list[Any]) -> None:
    path = tmp_path / "table.parquet"
    pl.DataFrame({"image_id": ["x"], "a": [1]} | {column: values}).write_parquet(path)
    with pytest.raises(TableInvalid, match=f"column '{column}' of .* holds"):
        read_all(path)


@pytest.mark.parametrize("name", ["none.csv", "folder"])
def test_no_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(TableInvalid, match="cannot read table"):
        read_table(tmp_path / name)
