"""A correction, and how corrections are stored as rows of Parquet."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import InputInvalid, VersionUnsupported
from storage.text import printable
from storage.versions import is_newer, is_version

VERSION = 1
METADATA_KEY = b"aspects_corrections"
Kind = Literal["label", "answer"]
YES, NO = "yes", "no"
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

SHOWN_TYPE = pa.struct(
    [
        pa.field("queue", pa.string()),
        pa.field("rank", pa.int64()),
        pa.field("weight", pa.float64()),
        pa.field("draw", pa.float64()),
    ]
)
SCHEMA = pa.schema(
    [
        pa.field("correction", pa.string(), nullable=False),
        pa.field("at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("user", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("image_sha256", pa.string()),
        pa.field("key", pa.string()),
        pa.field("text", pa.string()),
        pa.field("old", pa.string()),
        pa.field("p_yes", pa.float64()),
        pa.field("teacher", pa.string()),
        pa.field("value", pa.string()),
        pa.field("note", pa.string()),
        pa.field("shown", SHOWN_TYPE),
        pa.field("undoes", pa.string()),
        pa.field("probability", pa.float64()),
        pa.field("pool", pa.int64()),
    ]
)


class CorrectionInvalid(InputInvalid):
    """A correction cannot be recorded or read as it is; the message says what, where and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The position of an answer in a queue: `queue` is the queue's id (queue.py), `rank` the position from 1, `weight`
    and `draw` determine it."""

    queue: str
    rank: int
    weight: float
    draw: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """A person's correction of one image's label, or of its answer to one question.

    `value` is a class name or "yes" or "no"; None means unsure: the image counts as unlabelled, the answer as the
    teacher's. `old` is the value before, `p_yes` the answer of `teacher` (a fingerprint) that was shown. `key` and
    `text` are the question's; corrections apply to questions of the same text, whatever their key. `undoes` is the id
    of the correction that this row undoes. `probability` is that with which a queue drew the answer from the `pool`
    answers that were not corrected yet; both are None for what a person chose, and in files of earlier releases.
    `correction` (the row's id), `at` and `user` are set when it is recorded.
    """

    image_id: str
    kind: Kind
    value: str | None = None
    key: str | None = None
    text: str | None = None
    image_sha256: str | None = None
    old: str | None = None
    p_yes: float | None = None
    teacher: str | None = None
    note: str | None = None
    shown: Shown | None = None
    undoes: str | None = None
    probability: float | None = None
    pool: int | None = None
    correction: str = ""
    at: datetime = BEGINNING
    user: str = ""

    def __post_init__(self) -> None:
        if self.kind not in ("label", "answer"):
            raise CorrectionInvalid(f"{self._where} is of kind {self.kind!r}; use label or answer")
        if not self.image_id:
            raise CorrectionInvalid("a correction names no image; give its image_id")
        if self.kind == "answer":
            if not (self.key and self.text):
                raise CorrectionInvalid(f"{self._where} names no question; give its key")
            if self.value not in (YES, NO, None):
                raise CorrectionInvalid(
                    f"{self._where}, question '{self.key}': {self.value!r} is no answer; use yes or no"
                )
        if self.probability is not None and not (0 < self.probability <= 1 and (self.pool or 0) >= 1):
            raise CorrectionInvalid(
                f"{self._where}: probability {self.probability!r} from a pool of {self.pool!r} answers; "
                "leave both as the queue wrote them, or empty"
            )
        if self.value == "":
            raise CorrectionInvalid(f"{self._where} has an empty value; leave it out where you are unsure")

    @property
    def _where(self) -> str:
        return f"correction of image '{printable(self.image_id, 100)}'"

    @property
    def target(self) -> tuple[Kind, str, str | None]:
        """Return what is corrected; of several corrections of the same target the last one is in effect."""
        return self.kind, self.image_id, self.text


def write_rows(corrections: Sequence[Correction], dataset: str) -> bytes:
    """Return corrections as Parquet bytes."""
    metadata = {METADATA_KEY: json.dumps({"version": VERSION, "dataset": dataset}).encode()}
    rows = [dataclasses.asdict(correction) for correction in corrections]
    buffer = pa.BufferOutputStream()
    table = pa.Table.from_pylist(rows, schema=SCHEMA.with_metadata(metadata))
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    return bytes(buffer.getvalue().to_pybytes())


def parse_rows(data: bytes) -> list[Correction]:
    """The inverse of `write_rows`. Columns of a later release are ignored.

    Raises VersionUnsupported for a newer version. For damage, raises any error of pyarrow, and ValueError for what is
    no table of corrections.
    """
    file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
    _check_version((file.metadata.metadata or {}).get(METADATA_KEY))
    columns = [name for name in SCHEMA.names if name in file.schema_arrow.names]
    if missing := [field.name for field in SCHEMA if not field.nullable and field.name not in columns]:
        raise ValueError(f"it has no column '{missing[0]}'")
    return [_correction(row) for row in file.read(columns=columns, use_threads=False).to_pylist()]


def _check_version(metadata: bytes | None) -> None:
    document = json.loads(metadata) if metadata is not None else None
    version = document.get("version") if isinstance(document, dict) else None
    if is_newer(version, VERSION):
        raise VersionUnsupported(
            f"written by a newer release (version {printable(str(version), 40)}; this release reads up to {VERSION})"
        )
    if not is_version(version):
        raise ValueError("it is no table of corrections")


def _correction(row: dict[str, Any]) -> Correction:
    shown = row.pop("shown", None)
    return Correction(**row, shown=None if shown is None else Shown(**shown))
