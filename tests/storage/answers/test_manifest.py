from __future__ import annotations

import json
from typing import Any

import pytest

from storage.answers.integrity import FIELDS_KEY, field_digests
from storage.answers.manifest import check_place, parse_manifest
from storage.errors import VersionUnsupported
from tests.storage.samples import HEADER

PLACE = f"a/dataset=sample/teacher={HEADER.teacher_fingerprint}/questions={HEADER.questions.fingerprint}"
DOCUMENT: dict[str, Any] = {
    **HEADER.to_json(),
    "images": 5,
    "shards": {"part-00000.parquet": 3, "part-00001.parquet": 2},
}


def parse(**changes: Any) -> dict[str, Any]:
    return parse_manifest(json.dumps({**DOCUMENT, **changes}).encode(), PLACE)


def test_fields_missing_in_earlier_releases_get_defaults() -> None:
    found = parse()
    assert found["shards"] == DOCUMENT["shards"]
    assert (found["splits"], found["errors"], found["runs"], found["digests"]) == ([], 0, [], {})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": 4}, "do not have 4 images"),
        ({"shards": {}}, "no shards"),
        ({"shards": {"../part-00000.parquet": 5}}, "it lists a shard"),
        ({"shards": {"part-00000.parquet": "5"}}, "field shards"),
        ({"shards": {"part-00000.parquet": 6, "part-00001.parquet": -1}}, "do not have 5 images"),
        ({"splits": "train"}, "field splits"),
        ({"schema_version": None}, "schema version"),
        ({FIELDS_KEY: field_digests({"dataset": "other"})}, "dataset is not what was written"),
    ],
)
def test_errors_name_the_invalid_field(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(**changes)


def test_a_newer_one_is_not_damaged() -> None:
    with pytest.raises(VersionUnsupported, match="newer release"):
        parse(schema_version=4, shards=None)


@pytest.mark.parametrize("part", ["dataset=other", "teacher=other", "questions=other"])
def test_a_file_in_the_folder_of_another_is_refused(part: str) -> None:
    name = part.partition("=")[0]
    place = "/".join(part if each.startswith(f"{name}=") else each for each in PLACE.split("/"))
    with pytest.raises(ValueError, match=f"it is about the {name}"):
        check_place(HEADER, place)
    check_place(HEADER, PLACE)
    check_place(HEADER, "moved/elsewhere")
