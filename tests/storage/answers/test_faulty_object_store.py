"""An S3 server that answers some requests with an error or half: what it keeps is neither missing nor asked again."""

from __future__ import annotations

import pytest

from storage.answers.damage import AnswersMissing
from storage.answers.directories import answer_directories
from storage.answers.read import find_answers, read_answers
from storage.answers.reuse import known_answers
from storage.answers.shards import cut_shards
from storage.errors import StorageUnavailable
from storage.filesystem import StoreUnreachable
from tests.storage.contract import write_directory
from tests.storage.faulty_s3 import HALVES, Fault, FaultyS3, bucket, server
from tests.storage.samples import HEADER, records

__all__ = ["bucket", "server"]  # fixtures


@pytest.mark.parametrize("fault", [403, 500, *HALVES])
def test_shards_that_the_server_does_not_give_now_are_not_missing(server: FaultyS3, bucket: str, fault: Fault) -> None:
    directory = write_directory(bucket)
    server.fail("GET", "part-00000", fault)
    first, second = cut_shards(records(5), 3)
    uses = (
        lambda: directory.valid_shard(first, HEADER),
        directory.splits,
        lambda: read_answers(find_answers(bucket, "sample")),
        lambda: known_answers(bucket, ["sample"], HEADER.teacher_fingerprint),
    )
    for use in uses:
        with pytest.raises(StorageUnavailable, match=r"cannot read .*part-00000\.parquet right now"):
            use()
    assert server.refused >= len(uses)
    assert directory.valid_shard(second, HEADER) is not None
    server.fail("HEAD", "part-00000", 404)
    assert directory.valid_shard(first, HEADER) is None


@pytest.mark.parametrize("fault", [500, *HALVES])
@pytest.mark.parametrize("part", ["list-type=2", ".json"])
def test_neither_are_listings_and_manifests(server: FaultyS3, bucket: str, part: str, fault: Fault) -> None:
    write_directory(bucket)
    server.fail("GET", part, fault)
    with pytest.raises(StorageUnavailable, match="right now"):
        find_answers(bucket, "sample")


def test_a_folder_of_a_bucket_needs_no_access_to_the_bucket(server: FaultyS3, bucket: str) -> None:
    write_directory(bucket)
    name = bucket.removeprefix("s3://").partition("/")[0]
    server.fail("HEAD", f"/{name}?", 403)
    assert len(read_answers(find_answers(f"{bucket}/", "sample")).image_ids) == 5


def test_a_bucket_that_is_not_there_is_named(server: FaultyS3, bucket: str) -> None:
    with pytest.raises(StoreUnreachable, match="there is no bucket 'missing-bucket'; create it"):
        answer_directories("s3://missing-bucket/path")
    with pytest.raises(AnswersMissing, match="aspects extract"):
        find_answers(f"{bucket}/new", "sample")
