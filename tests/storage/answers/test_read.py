"""Where a store has several answers, the message says how to choose, and what it says works."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from storage.answers.read import find_answers, load_answers
from storage.answers.shards import cut_shards
from storage.answers.store import AnswerDirectory, AnswersMissing
from storage.questions import AspectQuestion, QuestionSet
from student.classification.stored_answers import load_teacher_answers
from tests.storage.samples import HEADER, QUESTIONS, answers_for, records

OTHERS = QuestionSet(tuple(AspectQuestion(key=f"q{number}", text=f"Is it {number}?") for number in range(3)))
ONE, TWO = "0" * 12, "1" * 12


def write_answers(store: str, teacher: str, questions: QuestionSet) -> str:
    header = dataclasses.replace(HEADER, teacher_fingerprint=teacher, questions=questions)
    directory = AnswerDirectory.locate(store, "sample", teacher, questions.fingerprint)
    (shard,) = cut_shards(records(2), 2)
    directory.write_shard(shard, header, answers_for(shard.records))
    directory.complete(header, [shard], {})
    return directory.path


CASES = {
    "one teacher, two sets": [(ONE, QUESTIONS), (ONE, OTHERS)],
    "two teachers, one set": [(ONE, QUESTIONS), (TWO, QUESTIONS)],
    "two teachers, two sets": [(ONE, QUESTIONS), (TWO, OTHERS)],
    "one with two sets, one with one": [(ONE, QUESTIONS), (ONE, OTHERS), (TWO, OTHERS)],
    "all": [(ONE, QUESTIONS), (ONE, OTHERS), (TWO, QUESTIONS), (TWO, OTHERS)],
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("option", ["--teacher", "--class-teacher"])
def test_the_hint_leads_on(tmp_path: Path, case: str, option: str) -> None:
    paths = [write_answers(str(tmp_path), *written) for written in CASES[case]]
    with pytest.raises(AnswersMissing, match="has several answers for 'sample'") as raised:
        find_answers(str(tmp_path), "sample", option=option)
    (value,) = re.findall(rf"e\.g\. {option} (\S+)$", str(raised.value))
    assert find_answers(str(tmp_path), "sample", teacher=value).path in paths


def test_a_teacher_with_two_sets_is_narrowed_by_the_set(tmp_path: Path) -> None:
    paths = [write_answers(str(tmp_path), ONE, questions) for questions in (QUESTIONS, OTHERS)]
    for path, questions in zip(paths, (QUESTIONS, OTHERS), strict=True):
        assert find_answers(str(tmp_path), "sample", questions=questions).path == path
        both = f"{ONE}/{questions.fingerprint}"
        assert find_answers(str(tmp_path), "sample", teacher=both, questions=questions).path == path
    with pytest.raises(AnswersMissing, match=f"by --teacher {ONE}/{OTHERS.fingerprint} to question set .* run"):
        find_answers(str(tmp_path), "sample", teacher=f"{ONE}/{OTHERS.fingerprint}", questions=QUESTIONS)


def test_answers_about_classes_are_chosen_by_their_own_option(tmp_path: Path) -> None:
    write_answers(str(tmp_path), ONE, QUESTIONS)
    write_answers(str(tmp_path), ONE, OTHERS)
    both = f"{ONE}/{OTHERS.fingerprint}"
    with pytest.raises(AnswersMissing, match=f"choose one by --class-teacher TEACHER/QUESTIONS, e.g. .*{ONE}/"):
        load_teacher_answers(str(tmp_path), "sample", both, None, ONE)
    known = load_teacher_answers(str(tmp_path), "sample", both, None, f"{ONE}/{QUESTIONS.fingerprint}")
    assert (known.classes.questions, known.image.questions) == (QUESTIONS, OTHERS)  # type: ignore[union-attr]


def test_rows_are_found_by_id_in_any_order(tmp_path: Path) -> None:
    answers = load_answers(write_answers(str(tmp_path), ONE, QUESTIONS))
    ids = [*reversed(answers.image_ids), "unknown", answers.image_ids[0]]
    count = len(answers.image_ids)
    assert answers.rows_of(ids).tolist() == [*reversed(range(count)), -1, 0]
    assert answers.rows_of([]).tolist() == []
