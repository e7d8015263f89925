from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from storage.answers import reuse
from storage.answers.reuse import FileRows, KnownAnswers, known_answers
from storage.answers.schema import parse_shard, write_shard
from storage.questions import QuestionSet
from tests.storage.contract import write_directory
from tests.storage.samples import HEADER, QUESTIONS, answers_for, records

FOURTH = f"{3:064x}"  # digest of the image with that number


def missing(count: int) -> np.ndarray:
    return np.full(count, np.nan, np.float32)


def test_answers_are_found_by_digest_and_text_and_fill_gaps_only() -> None:
    known = KnownAnswers(datasets=["sample"])
    answers = answers_for(records(5), damaged=1)
    known.add(parse_shard(write_shard(HEADER, answers)))
    yes, no = missing(3), missing(3)
    yes[0] = no[0] = -1.0
    texts = [QUESTIONS.texts[0], "Is it something else?", QUESTIONS.texts[1]]
    assert known.fill(FOURTH, texts, yes, no) == 1
    np.testing.assert_array_equal(yes, [-1.0, np.nan, answers.yes[3, 1]])
    np.testing.assert_array_equal(no, [-1.0, np.nan, answers.no[3, 1]])
    assert known.fill(f"{1:064x}", texts, missing(3), missing(3)) == 0, "an image with an error has no answers"
    assert known.fill("f" * 64, texts, missing(3), missing(3)) == 0


def test_only_images_of_the_dataset_are_known_by_id() -> None:
    stored = parse_shard(write_shard(HEADER, answers_for(records(5), damaged=1)))
    own, other = KnownAnswers(datasets=["sample"]), KnownAnswers(datasets=["other"])
    for known in (own, other):
        known.add(stored)
    assert [own.digest_of(record) for record in records(5)[:3]] == [f"{0:064x}", None, f"{2:064x}"]
    assert own.digest_of(replace(records(5)[0], box=(0, 0, 1, 1))) is None
    assert other.digest_of(records(5)[0]) is None


def test_a_directory_that_was_read_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = write_directory(str(tmp_path))
    loaded = {name: directory.load_shard(name).answers for name in directory.shard_files()}
    rows = [FileRows.of(name, answers.image_sha256, answers.errors) for name, answers in loaded.items()]
    monkeypatch.delattr(reuse, "read_file")
    read = {directory.path: rows}
    known = known_answers(str(tmp_path), ["sample"], HEADER.teacher_fingerprint, QUESTIONS.texts, read)
    yes, no = missing(3), missing(3)
    assert known.fill(f"{0:064x}", QUESTIONS.texts, yes, no) == 3


def test_other_teachers_and_other_questions_are_passed_over(tmp_path: Path) -> None:
    write_directory(str(tmp_path))
    assert known_answers(str(tmp_path), ["sample"], "another").directories == []
    assert known_answers(str(tmp_path), ["sample"], HEADER.teacher_fingerprint, ["Is it new?"]).directories == []
    few = QuestionSet(QUESTIONS.questions[:1]).texts
    known = known_answers(str(tmp_path), ["sample"], HEADER.teacher_fingerprint, few)
    assert known.fill(f"{0:064x}", QUESTIONS.texts, missing(3), missing(3)) == 1
