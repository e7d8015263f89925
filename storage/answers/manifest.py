"""Read and validate the manifest of an answer directory."""

from __future__ import annotations

import re
from typing import Any

from pydantic import Field, ValidationError

from storage.answers.integrity import check_fields
from storage.answers.schema import AnswerHeader, StoredFields, check_version, first_problem
from storage.documents import parse_json
from storage.text import printable

# The second number is that of the last shard in a compacted file.
SHARD_NAME = re.compile(r"part-(\d{5,})(?:-(\d{5,}))?\.parquet")


def shard_name(first: int, last: int | None = None) -> str:
    """Return the file name of a shard, or of a compacted file with shards `first` to `last`."""
    return f"part-{first:05d}.parquet" if last is None else f"part-{first:05d}-{last:05d}.parquet"


def span_of(name: str) -> tuple[int, int]:
    """Return the first and the last shard in a file. Raises ValueError for other names."""
    if (found := SHARD_NAME.fullmatch(name)) is None:
        raise ValueError(f"{name!r} is no shard")
    return int(found[1]), int(found[2] or found[1])


def file_order(name: str) -> tuple[int, int]:
    """Return a sort key: files by their first shard, compacted ones before files of the same shards."""
    first, last = span_of(name)
    return first, -last


def is_compacted(name: str) -> bool:
    """Return whether a file holds several shards."""
    found = SHARD_NAME.fullmatch(name)
    return found is not None and found[2] is not None


class ManifestFields(StoredFields):
    """The fields of a manifest besides the header. Releases before the digests wrote none."""

    images: int
    shards: dict[str, int]
    splits: list[str] = Field(default_factory=list)
    errors: int = 0
    runs: list[Any] = Field(default_factory=list)
    digests: dict[str, str] = Field(default_factory=dict)


def parse_manifest(data: bytes, directory: str) -> dict[str, Any]:
    """Parse the manifest of `directory` (.../dataset=.../teacher=.../questions=...).

    Raises VersionUnsupported for a newer release's, ValueError for one that is damaged or belongs to another directory.
    """
    document = parse_json(data, "it")
    check_version(document)
    check_fields(document)
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
    check_place(header, directory)
    return {**document, **fields.model_dump()}


def check_place(header: AnswerHeader, directory: str) -> None:
    """Raise ValueError if a file's header does not match the names of its folders.

    A folder that was moved on its own has fewer names to compare.
    """
    expected = {
        "dataset": header.dataset,
        "teacher": header.teacher_fingerprint,
        "questions": header.questions.fingerprint,
    }
    folders = directory.split("/")[-3:]
    for (name, value), folder in zip(list(expected.items())[-len(folders) :], folders, strict=True):
        if folder.startswith(f"{name}=") and folder != f"{name}={value}":
            raise ValueError(f"it is about the {name} {printable(value, 100)}")
