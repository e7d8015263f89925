"""The schema of a shard: columns, metadata, and conversion between arrays and Parquet."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from storage.answers.header import AnswerHeader as AnswerHeader
from storage.answers.header import StoredFields as StoredFields
from storage.answers.header import check_version as check_version
from storage.answers.header import first_problem as first_problem
from storage.answers.integrity import check_digests, check_values, shard_digests
from storage.datasets.base import BOX_MARK, ImageRecord
from storage.datasets.records import ImageRecords, RecordColumns

METADATA_KEY, DIGESTS_KEY = b"aspects", b"aspects_digests"
ANSWER_TYPE = pa.struct([pa.field("yes", pa.float32()), pa.field("no", pa.float32())])
IMAGE_FIELDS = (
    pa.field("image_id", pa.string(), nullable=False),
    pa.field("image_sha256", pa.string()),
    pa.field("split", pa.string(), nullable=False),
    pa.field("label", pa.int32(), nullable=False),
    pa.field("label_name", pa.string(), nullable=False),
    pa.field("error", pa.string()),
)
# Additional columns if every row is a box: its number in the image, and its Corners.
SIDES = ("left", "top", "right", "bottom")
BOX_FIELDS = (
    pa.field("box_id", pa.string(), nullable=False),
    pa.field("box", pa.struct([pa.field(side, pa.float64()) for side in SIDES]), nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardAnswers:
    """The rows of one shard, I images in the dataset's order and Q questions in the set's.

    `yes` and `no` are log-probabilities in nats, float32 [I, Q]; NaN where `errors` gives the reason, and where a pair
    was skipped. An image of which every pair was skipped has not been read, so it has no digest.
    """

    records: Sequence[ImageRecord]
    image_sha256: Sequence[str | None]
    errors: Sequence[str | None]
    yes: NDArray[np.float32]
    no: NDArray[np.float32]


def shard_schema(header: AnswerHeader, *, boxes: bool = False) -> pa.Schema:
    """One row per image or box: its own columns, then a struct of `yes` and `no` for every question."""
    answers = [pa.field(key, ANSWER_TYPE) for key in header.questions.keys]
    metadata = {METADATA_KEY: json.dumps(header.to_json(), ensure_ascii=False).encode()}
    return pa.schema([*IMAGE_FIELDS, *(BOX_FIELDS if boxes else ()), *answers], metadata=metadata)


def to_table(header: AnswerHeader, answers: ShardAnswers) -> pa.Table:
    """Convert `answers` to a table of `shard_schema(header)`; NaN becomes null."""
    boxes = [record.box for record in answers.records if record.box is not None]
    assert len(boxes) in (0, len(answers.records)), "a shard is about images or about boxes"
    ids = [record.image_id.rpartition(BOX_MARK) if boxes else (record.image_id,) for record in answers.records]
    columns: list[pa.Array] = [
        pa.array([parts[0] for parts in ids], pa.string()),
        pa.array(answers.image_sha256, pa.string()),
        pa.array([record.split for record in answers.records], pa.string()),
        pa.array([record.label for record in answers.records], pa.int32()),
        pa.array([record.label_name for record in answers.records], pa.string()),
        pa.array(answers.errors, pa.string()),
    ]
    if boxes:
        columns.append(pa.array([parts[-1] for parts in ids], pa.string()))
        columns.append(pa.array([dict(zip(SIDES, box, strict=True)) for box in boxes], BOX_FIELDS[1].type))
    missing = np.isnan(answers.yes) | np.isnan(answers.no)
    for column in range(len(header.questions)):
        parts = [pa.array(np.ascontiguousarray(values[:, column])) for values in (answers.yes, answers.no)]
        columns.append(pa.StructArray.from_arrays(parts, fields=list(ANSWER_TYPE), mask=pa.array(missing[:, column])))
    return pa.Table.from_arrays(columns, schema=shard_schema(header, boxes=bool(boxes)))


def write_shard(header: AnswerHeader, answers: ShardAnswers) -> bytes:
    """Return a shard as Parquet bytes. Its metadata holds digests of the contents; its pages have checksums for other
    readers."""
    table = to_table(header, answers)
    digests = {DIGESTS_KEY: json.dumps(shard_digests(header, answers)).encode()}
    buffer = pa.BufferOutputStream()
    pq.write_table(
        table.replace_schema_metadata({**table.schema.metadata, **digests}),
        buffer,
        compression="zstd",
        write_page_checksum=True,
    )
    return bytes(buffer.getvalue().to_pybytes())


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredShard:
    """A shard that was read and validated; `answers` has the columns of `keys`.

    `digests` are None for a shard of an earlier release.
    """

    header: AnswerHeader
    keys: tuple[str, ...]
    answers: ShardAnswers
    digests: Mapping[str, Any] | None


def parse_shard(data: bytes, reuse_keys: Collection[str] | None = None) -> StoredShard:
    """Parse a shard, with all questions or those with these `reuse_keys`.

    Raises VersionUnsupported for a newer schema version. For damage, raises any error of pyarrow, and ValueError for
    files that are not shards, values that are not log-probabilities and contents that do not match their digests.
    """
    # Threads and read-ahead cost more than they save for a file of this size.
    file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True, pre_buffer=False)
    metadata = file.metadata.metadata or {}
    header = header_of(metadata)
    questions = header.questions.questions
    keys = tuple(question.key for question in questions if reuse_keys is None or question.reuse_key in reuse_keys)
    fields = [*IMAGE_FIELDS, *(BOX_FIELDS if "box_id" in file.schema_arrow.names else ())]
    table = file.read(columns=[*(field.name for field in fields), *keys], use_threads=False)
    _check_columns(table, fields, keys)
    answers = from_table(table, keys)
    check_values(header, answers)
    digests = json.loads(metadata[DIGESTS_KEY]) if DIGESTS_KEY in metadata else None
    if digests is not None:
        check_digests(digests, header, answers, keys)
    return StoredShard(header=header, keys=keys, answers=answers, digests=digests)


def from_table(table: pa.Table, keys: Sequence[str]) -> ShardAnswers:
    """The inverse of `to_table` for the columns of `keys`, which are found by name; null becomes NaN."""
    records: Sequence[ImageRecord] = _image_records(table)
    if "box" in table.column_names:
        boxes = zip(table.column("box_id").to_pylist(), table.column("box").to_pylist(), strict=True)
        records = [
            replace(record, image_id=f"{record.image_id}{BOX_MARK}{number}", box=tuple(box[side] for side in SIDES))
            for record, (number, box) in zip(records, boxes, strict=True)
        ]
    yes, no = _answer_matrices(table, keys)
    return ShardAnswers(
        records=records,
        image_sha256=table.column("image_sha256").to_pylist(),
        errors=table.column("error").to_pylist(),
        yes=yes,
        no=no,
    )


def _image_records(table: pa.Table) -> ImageRecords:
    """Return the records of a table, without boxes."""
    splits, names = (table.column(name).combine_chunks().dictionary_encode() for name in ("split", "label_name"))
    return ImageRecords(
        RecordColumns(
            image_ids=table.column("image_id"),
            splits=splits.indices.to_numpy().astype(np.uint16),
            # The same few texts in all shards.
            split_names=tuple(map(sys.intern, splits.dictionary.to_pylist())),
            labels=table.column("label").to_numpy(),
            label_names=names.indices.to_numpy(),
            names=tuple(map(sys.intern, names.dictionary.to_pylist())),
        )
    )


def header_of(metadata: Mapping[bytes, bytes]) -> AnswerHeader:
    """Read the header. Raises the same errors as `AnswerHeader.from_json`."""
    document = metadata.get(METADATA_KEY)
    if document is None:
        raise ValueError("no 'aspects' metadata in this Parquet file")
    # pyarrow stores the metadata twice. Comparing both detects a flipped bit in shards without digests.
    arrow = metadata.get(b"ARROW:schema")
    copy = None if arrow is None else pa.ipc.read_schema(pa.BufferReader(base64.b64decode(arrow))).metadata
    if copy is not None and copy.get(METADATA_KEY, document) != document:
        raise ValueError("its two copies of the metadata differ")
    return _parsed_header(document)


@lru_cache(maxsize=8)
def _parsed_header(document: bytes) -> AnswerHeader:
    """Parse the header, cached: all shards of a directory have the same one."""
    return AnswerHeader.from_json(json.loads(document))


def _check_columns(table: pa.Table, fields: Sequence[pa.Field], keys: Sequence[str]) -> None:
    """Raise ValueError for a column that is missing, repeated, of another type, or null where that is not allowed."""
    for field in (*fields, *(pa.field(key, ANSWER_TYPE) for key in keys)):
        count = table.column_names.count(field.name)
        if count != 1:
            raise ValueError(f"{count} columns are called '{field.name}'")
        column = table.column(field.name)
        if column.type != field.type:
            raise ValueError(f"column '{field.name}' is {column.type}, not {field.type}")
        if not field.nullable and column.null_count:
            raise ValueError(f"column '{field.name}' has no value in some rows")


def _answer_matrices(table: pa.Table, keys: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return `yes` and `no`, each [I, Q]."""
    yes, no = (np.empty((table.num_rows, len(keys)), np.float32) for _ in range(2))
    for column, key in enumerate(keys):
        # `flatten` propagates the struct's nulls to its fields; `field` does not.
        fields = table.column(key).combine_chunks().flatten()
        yes[:, column], no[:, column] = (field.to_numpy(zero_copy_only=False) for field in fields)
    return yes, no
