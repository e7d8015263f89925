"""A label audit in a file, so that it need not be computed again: Parquet, with the rest of the audit as metadata."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from student.classification.confused_classes import ConfusedPair
from student.classification.label_audit import LabelAudit
from student.core.files import VERSION, RunInvalid, parse, read_bytes, require_version, write_bytes

LARGEST = 1 << 34  # bytes
METADATA = "aspects"


@dataclass(frozen=True, kw_only=True)
class _About:
    """The fields of an audit besides its table."""

    class_names: tuple[str, ...]
    wrong_share: float
    weights: Mapping[str, float]
    confused: tuple[ConfusedPair, ...]


def write_label_audit(path: Path, audit: LabelAudit) -> None:
    about = {field.name: getattr(audit, field.name) for field in dataclasses.fields(audit) if field.name != "table"}
    about["confused"] = [dataclasses.asdict(pair) for pair in audit.confused]
    buffer = io.BytesIO()
    audit.table.write_parquet(buffer, metadata={"version": str(VERSION), METADATA: json.dumps(about)})
    write_bytes(path, buffer.getvalue())


def read_label_audit(path: Path) -> LabelAudit | None:
    """None where there is no such file, or a damaged one. Raises VersionUnsupported, and StorageUnavailable where it
    cannot be read right now."""
    try:
        data = read_bytes(path, limit=LARGEST)
        metadata = pl.read_parquet_metadata(io.BytesIO(data))
        require_version(path, json.loads(metadata["version"]))
        about = parse(_About, json.loads(metadata[METADATA]), path)
        return LabelAudit(table=pl.read_parquet(io.BytesIO(data)), **vars(about))
    except (FileNotFoundError, RunInvalid, KeyError, ValueError, pl.exceptions.PolarsError):
        return None
