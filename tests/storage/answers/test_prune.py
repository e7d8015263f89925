"""Unreferenced answers are found and removed; those that a new set can reuse are kept."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from storage.answers.directories import answer_directories, audits_of
from storage.answers.prune import find_unreferenced, remove
from storage.answers.read import load_answers
from storage.answers.shards import Shard
from storage.answers.store import AnswerDirectory, AnswersMissing
from storage.questions import AspectQuestion, QuestionSet
from tests.storage.samples import HEADER, QUESTIONS, answers_for, records

OTHERS = QuestionSet(tuple(AspectQuestion(key=f"q{number}", text=f"Is it number {number}?") for number in range(3)))


def write_answers(store: str, questions: QuestionSet, *, complete: bool = True) -> AnswerDirectory:
    header = dataclasses.replace(HEADER, questions=questions)
    directory = AnswerDirectory.locate(store, "sample", HEADER.teacher_fingerprint, questions.fingerprint)
    shard = Shard(0, records(4))
    directory.write_shard(shard, header, answers_for(shard.records))
    if complete:
        directory.complete(header, [shard], {})
    return directory


def test_unreferenced_directories_are_removed_and_others_stay(tmp_path: Path) -> None:
    store = str(tmp_path)
    kept, old = write_answers(store, QUESTIONS), write_answers(store, OTHERS)
    audit = write_answers(audits_of(store), OTHERS, complete=False)
    found = find_unreferenced(store, [QUESTIONS])
    assert [answers.directory.path for answers in found] == [old.path, audit.path]
    assert [answers.wanted for answers in found] == [False, False]
    assert found[0].name == f"dataset=sample/teacher=0123456789ab/questions={OTHERS.fingerprint}"
    assert found[0].bytes == sum(path.stat().st_size for path in Path(old.path).iterdir())
    remove(answers.directory for answers in found)
    assert [directory.path for directory in answer_directories(store)] == [kept.path]
    assert answer_directories(audits_of(store)) == []
    assert len(load_answers(kept.path).image_ids) == 4
    with pytest.raises(AnswersMissing):
        load_answers(old.path)
    assert find_unreferenced(store, [QUESTIONS]) == []


def test_answers_that_a_changed_set_will_reuse_are_wanted_until_it_is_extracted(tmp_path: Path) -> None:
    store = str(tmp_path)
    old = write_answers(store, QUESTIONS)
    changed = QuestionSet((*QUESTIONS.questions[:2], OTHERS.questions[0]))
    (found,) = find_unreferenced(store, [changed])
    assert (found.directory.path, found.wanted) == (old.path, True)
    write_answers(store, changed, complete=False)
    assert [answers.wanted for answers in find_unreferenced(store, [changed])] == [True]
    write_answers(store, changed)
    assert [answers.wanted for answers in find_unreferenced(store, [changed])] == [False]


def test_files_removed_by_another_run_are_skipped(tmp_path: Path) -> None:
    old = write_answers(str(tmp_path), OTHERS)
    assert remove([old]) == []
    assert remove([old]) == []
    assert answer_directories(str(tmp_path)) == []
