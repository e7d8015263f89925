"""The manifest of an answer directory: what it has to say, and reading it without trusting it."""

from __future__ import annotations

import re
from typing import Any

from pydantic import Field, ValidationError

from storage.documents import parse_json
from storage.schema import AnswerHeader, StoredFields, check_version, first_problem

SHARD_NAME = re.compile(r"part-\d{5,}\.parquet")


class ManifestFields(StoredFields):
    """What a manifest has beside the header. Releases before the digests wrote none."""

    images: int
    shards: dict[str, int]
    splits: list[str] = Field(default_factory=list)
    errors: int = 0
    runs: list[Any] = Field(default_factory=list)
    digests: dict[str, str] = Field(default_factory=dict)


def parse_manifest(data: bytes, folder: str) -> dict[str, Any]:
    """The document of the directory named `folder` (questions=...).

    Raises VersionUnsupported for one of a newer release, ValueError for one that is damaged or another directory's.
    """
    document = parse_json(data, "it")
    check_version(document)
    header = AnswerHeader.from_json(document)
    try:
        fields = ManifestFields.model_validate(document)
    except ValidationError as error:
        raise ValueError(first_problem(error)) from error
    if wrong := [name for name in fields.shards if not SHARD_NAME.fullmatch(name)]:
        raise ValueError(f"it lists a shard {wrong[0]!r}")
    if not fields.shards:
        raise ValueError("it lists no shards")
    if fields.images != sum(fields.shards.values()) or any(count < 0 for count in fields.shards.values()):
        raise ValueError(f"its shards do not have {fields.images} images")
    if folder.startswith("questions=") and folder != f"questions={header.questions.fingerprint}":
        raise ValueError(f"it is about the questions {header.questions.fingerprint}")
    return {**document, **fields.model_dump()}
