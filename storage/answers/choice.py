"""The pairs of image and question that an extraction with a budget has chosen to ask, so that a later run continues.

It is stored next to the manifest, as `questions=<set fingerprint>.choice` (Parquet: image_id, chosen, one bit for each
question in the set's order), and is written before its pairs are asked. If it is missing or damaged, the choice begins
again; what has been asked is not asked again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from storage.answers.store import AnswerDirectory
from storage.answers.writing import write_patiently
from storage.filesystem import read_file, write_whole

VERSION = 1
KEY = b"aspects_choice"
SCHEMA = pa.schema([pa.field("image_id", pa.string(), nullable=False), pa.field("chosen", pa.binary(), nullable=False)])


@dataclass(frozen=True, kw_only=True)
class StoredChoice:
    """The chosen pairs, bool [I, Q]. `looks` bounds of the error have been looked at; `certificate` is the last one."""

    chosen: NDArray[np.bool_]
    looks: int = 0
    certificate: dict[str, Any] = field(default_factory=dict)


def read_choice(directory: AnswerDirectory, image_ids: Sequence[str], questions: int) -> StoredChoice:
    """Return the stored choice for these images, in their order; nothing is chosen of images that it does not have, and
    where there is none. Raises StorageUnavailable."""
    chosen = np.zeros((len(image_ids), questions), np.bool_)
    try:
        data = read_file(directory.filesystem, directory.choice_path)
    except FileNotFoundError:
        return StoredChoice(chosen=chosen)
    try:
        table = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True).read()
        facts = json.loads((table.schema.metadata or {})[KEY])
        if facts["version"] != VERSION or facts["questions"] != questions:
            return StoredChoice(chosen=chosen)
        rows = dict(zip(table["image_id"].to_pylist(), table["chosen"].to_pylist(), strict=True))
        bits = b"".join(rows.get(image_id) or bytes(-(-questions // 8)) for image_id in image_ids)
        packed = np.frombuffer(bits, np.uint8).reshape(len(image_ids), -1)
        chosen = np.unpackbits(packed, axis=1, count=questions).astype(np.bool_)
        return StoredChoice(chosen=chosen, looks=int(facts["looks"]), certificate=dict(facts["certificate"]))
    # pyarrow raises errors of any type for corrupt bytes. Without the file the choice begins again.
    except Exception:
        return StoredChoice(chosen=np.zeros((len(image_ids), questions), np.bool_))


def write_choice(directory: AnswerDirectory, image_ids: Sequence[str], choice: StoredChoice) -> None:
    """Replace the stored choice. Raises StorageUnavailable."""
    packed = np.packbits(choice.chosen, axis=1)
    facts = {
        "version": VERSION,
        "questions": choice.chosen.shape[1],
        "looks": choice.looks,
        "certificate": choice.certificate,
    }
    columns = [pa.array(image_ids, pa.string()), pa.array([row.tobytes() for row in packed], pa.binary())]
    table = pa.table(columns, SCHEMA.with_metadata({KEY: json.dumps(facts).encode()}))
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    data = bytes(buffer.getvalue().to_pybytes())
    path = directory.choice_path
    write_patiently(lambda: write_whole(directory.filesystem, path, data), path)
