"""Tables given by users: CSV with commas, semicolons or tabs, Parquet, and JSON lines.

Text stays text: the class `00000` is not 0. Numeric columns are parsed as a whole, and an empty cell means no answer.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import polars as pl
from numpy.typing import NDArray

from storage.datasets.files import JSON_LINES
from storage.documents import MEGABYTE, DocumentInvalid, decode, parse_json, read_bytes
from storage.errors import InputInvalid
from storage.text import printable

MAX_TABLE = 512 * MEGABYTE
PARQUET = b"PAR1"
SEPARATORS = (",", ";", "\t")
# Columns that number the rows, as pandas writes them.
INDEX = re.compile(r"|Unnamed: \d+|__index_level_\d+__")
YES, NO = ("yes", "true", "y", "t"), ("no", "false", "n", "f")
EMPTY = ("", "na", "n/a", "nan", "null", "none")
LARGEST = 2.0**53  # whole numbers up to it are exact as floating point
ROUNDING = 1e-6  # tolerance around 0..1
KINDS: dict[type, str] = {
    str: "text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}


class TableInvalid(InputInvalid):
    """The table cannot be used as it is; the message says where, why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table as read: every column of a CSV is text. `rows` are the row numbers for messages."""

    path: Path | str  # an address, for a table in an object store
    frame: pl.DataFrame
    rows: Sequence[int]
    decimal_comma: bool = False

    @property
    def columns(self) -> list[str]:
        return self.frame.columns

    def names(self, column: str) -> list[str]:
        """Return the text of a column that names the rows. Raises TableInvalid for empty and repeated names."""
        kind = self.frame.schema[column]
        if kind == pl.Object:
            self._refuse_mixture(column)
        if kind.is_float() or kind.is_nested() or kind == pl.Binary:
            raise TableInvalid(f"column '{column}' of {self.path} holds {kind}, not text; write the names as text")
        names = self.frame[column].cast(pl.String).str.strip_chars().to_list()
        seen: dict[str, int] = {}
        for row, name in zip(self.rows, names, strict=True):
            if not name:
                raise TableInvalid(f"{self.path}, row {row}: column '{column}' is empty; name what the row is about")
            if name in seen:
                raise TableInvalid(
                    f"{self.path} has several rows for {column} '{printable(name)}' ({seen[name]} and {row}); keep one"
                )
            seen[name] = row
        return names

    def texts(self, column: str) -> list[str]:
        """Return a column as text, "" for an empty cell; 3 and 3.0 are "3".

        Raises TableInvalid for numbers with decimals, lists, bytes and values of several kinds.
        """
        cells = self.frame[column]
        if cells.dtype == pl.Object:
            self._refuse_mixture(column)
        if cells.dtype.is_nested() or cells.dtype == pl.Binary:
            raise TableInvalid(
                f"column '{printable(column)}' of {self.path} holds {cells.dtype}, not text; name another"
            )
        if cells.dtype.is_float():
            cells = cells.fill_nan(None)
            broken = ((cells != cells.round()) | (cells.abs() > LARGEST)).fill_null(False)
            if broken.any():
                row = int(broken.arg_max() or 0)
                raise TableInvalid(
                    f"{self.path}, row {self.rows[row]}, column '{printable(column)}': {cells[row]} is not a whole "
                    "number; write classes as text"
                )
            cells = cells.cast(pl.Int64)
        return cells.cast(pl.String).fill_null("").str.strip_chars().to_list()

    def is_integer(self, column: str) -> bool:
        """Return whether the column's type is a number; never for CSV, where everything is text."""
        return self.frame.schema[column].is_numeric()

    def _refuse_mixture(self, column: str) -> NoReturn:
        """Raise TableInvalid for a column of JSON lines with values of several kinds, or lists or objects."""
        first: tuple[int, str] | None = None
        for row, value in zip(self.rows, self.frame[column].to_list(), strict=True):
            kind = KINDS.get(type(value), "a number too large")
            if value is None:
                continue
            if kind in ("a list", "an object"):
                raise TableInvalid(f"{self.path}, row {row}: column '{printable(column)}' holds {kind}, not one value")
            if first is not None and first[1] != kind:
                raise TableInvalid(
                    f"{self.path}: column '{printable(column)}' holds {first[1]} in row {first[0]} and {kind} in row "
                    f"{row}; write all values alike"
                )
            first = first or (row, kind)
        raise TableInvalid(f"column '{printable(column)}' of {self.path} holds numbers that are too large; write text")

    def probabilities(self, columns: Sequence[str]) -> NDArray[np.float64]:
        """Return values in 0..1 [rows, columns], NaN for empty cells; yes and true count as 1, no and false as 0.

        Raises TableInvalid, naming row and column, for other values.
        """
        values = np.empty((len(self.rows), len(columns)))
        for place, column in enumerate(columns):
            numbers, empty = self._numbers(column)
            found = numbers.fill_null(np.nan).to_numpy()
            wrong = ~((found >= -ROUNDING) & (found <= 1 + ROUNDING)) & ~empty
            if wrong.any():
                row = int(np.flatnonzero(wrong)[0])
                raise TableInvalid(
                    f"{self.path}, row {self.rows[row]}, column '{printable(column)}': "
                    f"{printable(repr(self.frame[column][row]), 60)} is no probability; write 0..1, yes or no, or "
                    "leave the cell empty"
                )
            values[:, place] = np.where(empty, np.nan, found.clip(0, 1))
        return values

    def _numbers(self, column: str) -> tuple[pl.Series, NDArray[np.bool_]]:
        """Return the column as Float64, null where it is not a number, and which cells are empty."""
        cells = self.frame[column]
        if cells.dtype == pl.Object:
            self._refuse_mixture(column)
        if cells.dtype.is_nested() or cells.dtype.is_temporal() or cells.dtype == pl.Binary:
            raise TableInvalid(f"column '{printable(column)}' of {self.path} holds {cells.dtype}, not probabilities")
        if cells.dtype.is_numeric() or cells.dtype == pl.Boolean:
            numbers = cells.cast(pl.Float64)
            return numbers, (numbers.is_null() | numbers.is_nan()).fill_null(True).to_numpy()
        words = cells.cast(pl.String).fill_null("").str.strip_chars().str.to_lowercase()
        texts = words.str.replace(",", ".", literal=True) if self.decimal_comma else words
        known = pl.DataFrame({"word": words, "number": texts.cast(pl.Float64, strict=False)})
        numbers = known.select(
            pl.when(pl.col("word").is_in(YES)).then(1.0).when(pl.col("word").is_in(NO)).then(0.0).otherwise("number")
        ).to_series()
        return numbers, words.is_in(EMPTY).to_numpy()


def read_table(path: Path) -> Table:
    """Read a CSV, Parquet or JSON lines file, without columns that only number the rows. Raises TableInvalid."""
    return load_table(path, lambda: read_bytes(path, limit=MAX_TABLE))


def load_table(path: Path | str, read: Callable[[], bytes]) -> Table:
    """Like `read_table`, for a file whose bytes `read` returns; `path` is named in messages."""
    try:
        table = _parse(read(), path)
    except OSError as error:
        raise TableInvalid(f"cannot read table {path}: {error.strerror or error}") from error
    except DocumentInvalid as error:
        raise TableInvalid(f"cannot read table: {error}") from error
    except pl.exceptions.PolarsError as error:
        reason = printable(str(error), 200)
        raise TableInvalid(f"cannot read {path} as a table ({reason}); give CSV, Parquet or JSON lines") from error
    if not table.rows:
        raise TableInvalid(f"{path} has no rows; the first line names the columns, the others hold the values")
    return table


def _parse(data: bytes, path: Path | str) -> Table:
    if data.startswith(PARQUET):
        return _read_parquet(data, path)
    return _read_json_lines(data, path) if Path(path).suffix.lower() in JSON_LINES else _read_csv(data, path)


def _read_json_lines(data: bytes, path: Path | str) -> Table:
    """Columns with values of several kinds, lists or objects have the type Object."""
    rows, entries = [], []
    for row, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if line.strip():
            entry = parse_json(line, f"{path}, row {row}")
            if not isinstance(entry, dict):
                raise DocumentInvalid(f'{path}, row {row} is no object such as {{"image": "1.jpg", "label": "cat"}}')
            rows.append(row)
            entries.append(entry)
    names = dict.fromkeys(name for entry in entries for name in entry)
    columns = [_column(name, [entry.get(name) for entry in entries]) for name in names if not INDEX.fullmatch(name)]
    return Table(path=path, frame=pl.DataFrame(columns), rows=rows)


def _column(name: str, values: list[Any]) -> pl.Series:
    kinds = {type(value) for value in values} - {type(None)}
    if (len(kinds) > 1 and kinds != {int, float}) or kinds & {list, dict}:
        return pl.Series(name, values, dtype=pl.Object)
    try:
        return pl.Series(name, values, dtype=None if kinds else pl.String, strict=kinds != {int, float})
    except OverflowError:
        return pl.Series(name, values, dtype=pl.Object)


def _read_parquet(data: bytes, path: Path | str) -> Table:
    frame = pl.read_parquet(io.BytesIO(data))
    frame = frame.drop([name for name in frame.columns if INDEX.fullmatch(name)])
    return Table(path=path, frame=frame, rows=range(1, len(frame) + 1))


def _read_csv(data: bytes, path: Path | str) -> Table:
    decode(data, path)
    data = data.removeprefix(b"\xef\xbb\xbf")
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    first = data.partition(b"\n")[0].decode().rstrip("\r")
    separator = max(SEPARATORS, key=first.count)
    try:
        names = [name.strip() for name in next(csv.reader([first], delimiter=separator), [])]
    except csv.Error as error:
        raise TableInvalid(f"cannot read {path} as a table ({error}); give CSV, Parquet or JSON lines") from error
    _check_header(names, path)
    _check_lines(data, separator, len(names), path)
    # Unnamed columns get a temporary name and are dropped below.
    schema = {name or f"Unnamed: {place}": pl.String for place, name in enumerate(names)}
    frame = pl.read_csv(
        data,
        separator=separator,
        has_header=False,
        skip_rows=1,
        schema=schema,
        infer_schema=False,
        raise_if_empty=False,
        missing_columns="insert",  # an empty first line has no columns
    )
    frame = frame.with_row_index("row number", 2)
    filled = frame.filter(pl.any_horizontal(pl.col(name).is_not_null() for name in schema))
    rows = filled["row number"].to_list()
    filled = filled.drop("row number", *[name for name in schema if INDEX.fullmatch(name)])
    return Table(path=path, frame=filled, rows=rows, decimal_comma=separator != ",")


def _check_header(names: Sequence[str], path: Path | str) -> None:
    if not any(names):
        raise TableInvalid(f"{path} begins with an empty line; its first line must name the columns")
    if repeated := [name for name in dict.fromkeys(names) if name and names.count(name) > 1]:
        raise TableInvalid(f"{path} has several columns '{printable(repeated[0])}'; give each its own name")


def _check_lines(data: bytes, separator: str, columns: int, path: Path | str) -> None:
    """Raise TableInvalid for a row with more or fewer cells than columns, whose meaning is ambiguous."""
    try:
        if b'"' in data:
            text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", newline="")
            counts = (len(row) for row in csv.reader(text, delimiter=separator))
        else:
            mark = separator.encode()
            counts = (line.count(mark) + 1 if line.strip() else 0 for line in io.BytesIO(data))
        for row, count in enumerate(counts, start=1):
            if count not in (0, columns):
                raise TableInvalid(f"{path}, row {row} has {count} cells, but there are {columns} columns")
    except csv.Error as error:
        raise TableInvalid(f"cannot read {path} as a table ({error}); give CSV, Parquet or JSON lines") from error
