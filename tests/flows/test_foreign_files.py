"""Files that a person gives to a command and that are no such files: one line each, whatever they are."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.option_values import assignments
from flows.parameters import BriefParameters
from flows.work.experiment import read_experiment
from storage.errors import InputInvalid
from storage.questions import load_questions
from teacher.extraction.precomputed import read_attributes, read_lavid, read_makd, read_multiple_choice
from teacher.questions.audit_files import audit_files, read_audit
from teacher.questions.brief import read_draft
from teacher.questions.generation import Brief, load_prompt

BRIEF = Brief(classes=["rose"], wanted={"visual": 1}, prompt="", images=[], rounds=1, length=None, seed=0)
BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
)


def unfinished(path: Path) -> Any:
    path.rename(path.with_name(".q.yaml.unfinished"))
    return read_draft(path.with_name("q.yaml"), BRIEF)


def audit(path: Path) -> Any:
    questions = path.with_name("q.yaml")
    path.rename(audit_files(questions)[1])
    return read_audit(questions)


def lavid(path: Path) -> Any:
    questions = path.with_name("questions.txt")
    questions.write_text("Which colour?\n1. Red\n2. Blue\n")
    return read_lavid(path, questions)


READERS: dict[str, Callable[[Path], Any]] = {
    "questions": load_questions,
    "experiment": lambda path: read_experiment(path, {}, {}),
    "classes": lambda path: BriefParameters(classes=str(path)).class_names(),
    "photo": lambda path: BriefParameters(classes=__file__, photos=[str(path)]).load(),
    "prompt": load_prompt,
    "makd": read_makd,
    "lavid": lavid,
    "lavid questions": read_multiple_choice,
    "attributes": read_attributes,
    "draft": unfinished,
    "audit": audit,
}
BYTES = {
    "latin-1": "- café\n".encode("latin-1"),
    "nested": b"[" * 100_000,
    "nested objects": b'{"a":' * 100_000,
    "zeros": bytes(5000),
    "list": b"[1, 2]",
    "number": b"5",
    "null": b"null",
    "bomb": BOMB.encode(),
}
# What any text is for these: class names, a question without options.
ANY_TEXT = {"classes": {"nested", "nested objects", "zeros", "list", "number", "null", "bomb"}}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("content", ["pipe", "device", "folder", *BYTES])
def test_it_is_one_line_and_takes_no_time(reader: str, content: str, tmp_path: Path) -> None:
    path = tmp_path / "given"
    if content == "pipe":
        os.mkfifo(path)
    elif content == "device":
        path.symlink_to("/dev/zero")
    elif content == "folder":
        path.mkdir()
    else:
        path.write_bytes(BYTES[content])
    started = time.monotonic()
    if content in ANY_TEXT.get(reader, ()):
        READERS[reader](path)
    else:
        with pytest.raises((InputInvalid, OSError)) as caught:
            READERS[reader](path)
        assert "\n" not in str(caught.value)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("option", ["--set", "--vllm"])
@pytest.mark.parametrize(
    "value", [BOMB, "[" * 1000, "&a [*a]", "{a: 1, a: 2}", "2026-99-99", "!!python/object:os.system"]
)
def test_values_of_options_are_read_within_limits(option: str, value: str) -> None:
    with pytest.raises(InputInvalid, match=f"{option} .* cannot be read: the value"):
        assignments(option, [f"epochs={value}"])


def test_values_of_options() -> None:
    given = ["a=1e-3", "b=true", "c=[150, 180]", "d=cosine", "e-f=no", "g=", "h=1.5"]
    assert assignments("--set", given) == {
        "a": 1e-3, "b": True, "c": [150, 180], "d": "cosine", "e_f": False, "g": None, "h": 1.5,
    }  # fmt: skip
