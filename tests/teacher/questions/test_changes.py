"""What differs between a question set and the answered ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.cli.report import change_line
from storage.questions import AspectQuestion, QuestionSet
from teacher.questions.changes import Change, compare
from tests.storage.contract import write_directory
from tests.storage.samples import HEADER, QUESTIONS

STRIPES, RED, OUTSIDE = QUESTIONS.questions
WARM = AspectQuestion(key="is_red", text="Is it of a warm colour?")
BIG = AspectQuestion(key="is_big", text="Is it big?")


@pytest.mark.parametrize(
    ("asked", "differs", "line"),
    [
        ((STRIPES, RED, OUTSIDE), ((), (), ()), "answered completely, nothing is new"),
        ((RED, STRIPES, OUTSIDE), ((), (), ()), "the same questions in another order"),
        (
            (STRIPES, WARM, BIG),
            (("is_big",), ("is_red",), ("is_outside",)),
            "1 new (is_big); 1 reworded (is_red); 1 gone (is_outside)",
        ),
    ],
)
def test_keys_that_differ(
    tmp_path: Path, asked: tuple[AspectQuestion, ...], differs: tuple[tuple[str, ...], ...], line: str
) -> None:
    write_directory(str(tmp_path))
    (change,) = compare(QuestionSet(asked), str(tmp_path))
    assert (change.dataset, change.teacher) == (HEADER.dataset, HEADER.teacher_fingerprint)
    assert (change.new, change.reworded, change.gone) == tuple(map(list, differs))
    assert change.complete == (asked == QUESTIONS.questions)
    assert change_line(change) == f"sample by teacher {HEADER.teacher_fingerprint}: {line}"


def test_incomplete_answers_are_not_compared(tmp_path: Path) -> None:
    write_directory(str(tmp_path))
    next(tmp_path.glob("answers/*/*/*.json")).unlink()
    assert compare(QUESTIONS, str(tmp_path)) == list[Change]()
