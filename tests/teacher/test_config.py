"""The fingerprint follows what changes an answer, and unusable teachers are refused in one line."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from teacher.config import TINY_MODEL, TeacherConfig, TeacherInvalid, resolve, tiny_teacher


def test_the_same_weights_elsewhere_are_the_same_teacher(tmp_path: Path) -> None:
    copy = shutil.copytree(TINY_MODEL, tmp_path / "copy")
    moved = dataclasses.replace(tiny_teacher(), model=str(copy))
    assert resolve(moved).fingerprint == resolve(tiny_teacher()).fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "{question} Yes or no?"},
        {"yes_words": ("Yes", "True")},
        {"dtype": "bfloat16"},
        {"max_pixels": 4096},
        {"processor": {"max_patches": 2}},
        {"quantization": "fp8"},
    ],
)
def test_what_changes_an_answer_changes_the_fingerprint(change: dict[str, object]) -> None:
    other = dataclasses.replace(tiny_teacher(), **change)
    assert resolve(other).fingerprint != resolve(tiny_teacher()).fingerprint


def test_other_weights_are_another_teacher(tmp_path: Path) -> None:
    copy = shutil.copytree(TINY_MODEL, tmp_path / "copy")
    template = copy / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    other = dataclasses.replace(tiny_teacher(), model=str(copy))
    assert resolve(other).fingerprint != resolve(tiny_teacher()).fingerprint


@pytest.mark.parametrize("model", ["/nowhere/at/all", "./missing", "missing"])
def test_a_missing_model_is_named(model: str) -> None:
    with pytest.raises(TeacherInvalid, match="no model at") as caught:
        resolve(TeacherConfig(model=model))
    assert model in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(TeacherInvalid, match=r"no config\.json"):
        resolve(TeacherConfig(model=str(tmp_path)))


def test_a_prompt_needs_a_place_for_the_question() -> None:
    with pytest.raises(TeacherInvalid, match=r"\{question\}"):
        TeacherConfig(model="x", prompt="Yes or no?")
