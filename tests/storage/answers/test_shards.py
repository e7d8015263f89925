from __future__ import annotations

from dataclasses import replace

import pytest

from storage.answers.schema import AnswerHeader, parse_shard, write_shard
from storage.answers.shards import cut_shards, shard_digest
from storage.questions import QuestionSet
from tests.storage.samples import HEADER, QUESTIONS, answers_for, records


def test_shards_follow_the_order_of_the_dataset() -> None:
    shards = cut_shards(records(5), 2)
    assert [len(shard.records) for shard in shards] == [2, 2, 1]
    assert [record for shard in shards for record in shard.records] == list(records(5))
    assert shards[1].file_name == "part-00001.parquet"


def test_a_shard_of_no_images_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        cut_shards(records(5), 0)


@pytest.mark.parametrize(
    "header",
    [
        replace(HEADER, dataset="other"),
        replace(HEADER, teacher_fingerprint="other"),
        replace(HEADER, questions=QuestionSet(QUESTIONS.questions[:2])),
    ],
)
def test_a_stored_shard_is_that_of_its_header_and_records_only(header: AnswerHeader) -> None:
    stored = parse_shard(write_shard(HEADER, answers_for(records(3))))
    (shard,), (longer,) = cut_shards(records(3), 3), cut_shards(records(4), 4)
    assert shard.is_in(stored, HEADER)
    assert not shard.is_in(stored, header)
    assert not longer.is_in(stored, HEADER)


def test_the_manifests_digest_counts_for_a_shard_without_its_own() -> None:
    stored = parse_shard(write_shard(HEADER, answers_for(records(3))))
    earlier = replace(stored, digests=None)
    (shard,) = cut_shards(records(3), 3)
    assert shard_digest(earlier) == shard_digest(stored)
    assert shard.is_in(earlier, HEADER, shard_digest(stored))
    assert not shard.is_in(earlier, HEADER, "0" * 16)
    assert shard.is_in(stored, HEADER, "0" * 16)
