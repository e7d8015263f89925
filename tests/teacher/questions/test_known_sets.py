"""The question sets whose answers a store keeps: those in files and folders, and the variants that audits ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.answers.probes import blank_questions, negated_questions
from storage.questions import AspectQuestion, QuestionSet, QuestionsInvalid, write_questions
from teacher.questions.known_sets import known_sets
from teacher.questions.probes import probing_questions

RED = QuestionSet((AspectQuestion(key="red", text="Is it red?", negation="Is nothing red here?"),))
BIG = QuestionSet((AspectQuestion(key="big", text="Is it big?"),))


def test_files_and_folders_are_read_with_the_probes_of_each_set(tmp_path: Path) -> None:
    folder = tmp_path / "sets"
    folder.mkdir()
    write_questions(folder / "red.yaml", RED)
    write_questions(tmp_path / "big.txt", BIG)
    (folder / "notes.txt").write_text("no question set")
    found = known_sets([tmp_path / "big.txt", folder])
    sets = [(one, probing_questions(one), blank_questions(one), negated_questions(one)) for one in (BIG, RED)]
    expected = [questions.fingerprint for variants in sets for questions in variants if questions is not None]
    assert sorted(questions.fingerprint for questions in found) == sorted(expected)


def test_no_question_set_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(QuestionsInvalid, match=r"no question set in .*--questions FILE_OR_FOLDER"):
        known_sets([tmp_path])


def test_one_unreadable_file_is_an_error(tmp_path: Path) -> None:
    write_questions(tmp_path / "a.yaml", RED)
    (tmp_path / "b.yaml").write_text("questions: 3")
    with pytest.raises(QuestionsInvalid, match=r"b\.yaml"):
        known_sets([tmp_path])
