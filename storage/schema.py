"""What a shard looks like: its columns, its metadata, and the way from arrays to a table and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage.datasets.base import BOX_MARK, ImageRecord
from storage.questions import AspectQuestion, QuestionSet

SCHEMA_VERSION = 1
METADATA_KEY = b"aspects"
ANSWER_TYPE = pa.struct([pa.field("yes", pa.float32()), pa.field("no", pa.float32())])
IMAGE_FIELDS = (
    pa.field("image_id", pa.string(), nullable=False),
    pa.field("image_sha256", pa.string()),
    pa.field("split", pa.string(), nullable=False),
    pa.field("label", pa.int32(), nullable=False),
    pa.field("label_name", pa.string(), nullable=False),
    pa.field("error", pa.string()),
)
# Behind them where every row is a box: its number in the image, and where it is (Corners).
SIDES = ("left", "top", "right", "bottom")
BOX_FIELDS = (
    pa.field("box_id", pa.string(), nullable=False),
    pa.field("box", pa.struct([pa.field(side, pa.float64()) for side in SIDES]), nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerHeader:
    """What all shards of a directory have in common; written into each one's metadata.

    `teacher` describes the teacher for people (model, prompt, dtype, ...), `teacher_fingerprint` identifies it.
    """

    dataset: str
    teacher_fingerprint: str
    teacher: Mapping[str, Any]
    questions: QuestionSet
    libraries: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "dataset": self.dataset,
            "teacher_fingerprint": self.teacher_fingerprint,
            "teacher": dict(self.teacher),
            "questions_fingerprint": self.questions.fingerprint,
            "questions": [
                {"key": question.key, "text": question.text, "group": question.group, "negation": question.negation}
                for question in self.questions.questions
            ],
            "libraries": dict(self.libraries),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> AnswerHeader:
        """Raises ValueError for a schema version that this release does not know."""
        if document["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"schema version {document['schema_version']}, but this release reads {SCHEMA_VERSION}")
        return cls(
            dataset=document["dataset"],
            teacher_fingerprint=document["teacher_fingerprint"],
            teacher=document["teacher"],
            questions=QuestionSet(tuple(AspectQuestion(**question) for question in document["questions"])),
            libraries=document["libraries"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardAnswers:
    """The rows of one shard, I images in the dataset's order and Q questions in the set's.

    `yes` and `no` are log-probabilities in nats, float32 [I, Q]; NaN where `errors` says why there is none.
    """

    records: Sequence[ImageRecord]
    image_sha256: Sequence[str | None]
    errors: Sequence[str | None]
    yes: NDArray[np.float32]
    no: NDArray[np.float32]


def shard_schema(header: AnswerHeader, *, boxes: bool = False) -> pa.Schema:
    """One row per image, or per box: its own columns, then a struct of `yes` and `no` for every question."""
    answers = [pa.field(key, ANSWER_TYPE) for key in header.questions.keys]
    metadata = {METADATA_KEY: json.dumps(header.to_json(), ensure_ascii=False).encode()}
    return pa.schema([*IMAGE_FIELDS, *(BOX_FIELDS if boxes else ()), *answers], metadata=metadata)


def to_table(header: AnswerHeader, answers: ShardAnswers) -> pa.Table:
    """`answers` as a table of `shard_schema(header)`; NaN becomes null."""
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


def from_table(table: pa.Table) -> ShardAnswers:
    """The inverse of `to_table`; null becomes NaN."""
    fields = [field.name for field in (*IMAGE_FIELDS, *BOX_FIELDS) if field.name in table.column_names]
    keys = table.column_names[len(fields) :]
    images = table.select(fields).to_pylist()
    return ShardAnswers(
        records=[_record(row) for row in images],
        image_sha256=[row["image_sha256"] for row in images],
        errors=[row["error"] for row in images],
        yes=_answer_matrix(table, keys, "yes"),
        no=_answer_matrix(table, keys, "no"),
    )


def _record(row: Mapping[str, Any]) -> ImageRecord:
    image_id, box = row["image_id"], row.get("box")
    if box is not None:
        image_id, box = f"{image_id}{BOX_MARK}{row['box_id']}", tuple(box[side] for side in SIDES)
    return ImageRecord(image_id=image_id, split=row["split"], label=row["label"], label_name=row["label_name"], box=box)


def header_of(schema: pa.Schema) -> AnswerHeader:
    """The header in a shard's metadata. Raises ValueError where there is none that this release can read."""
    document = (schema.metadata or {}).get(METADATA_KEY)
    if document is None:
        raise ValueError("no 'aspects' metadata in this Parquet file")
    return AnswerHeader.from_json(json.loads(document))


def _answer_matrix(table: pa.Table, keys: Sequence[str], part: str) -> NDArray[np.float32]:
    matrix = np.empty((table.num_rows, len(keys)), np.float32)
    for column, key in enumerate(keys):
        # `flatten` hands the struct's own nulls down to its fields; `field` would not.
        fields = table.column(key).combine_chunks().flatten()
        matrix[:, column] = fields[0 if part == "yes" else 1].to_numpy(zero_copy_only=False)
    return matrix
