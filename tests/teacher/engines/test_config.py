"""The fingerprint follows what changes an answer, and unusable teachers are refused in one line."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from teacher.engines.config import TINY_MODEL, TeacherConfig, TeacherInvalid, resolve, resolve_served, tiny_teacher
from teacher.engines.options import EngineOptions


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
        {"max_pixels": 4096, "draft": True},
        {"processor": {"max_patches": 2}},
        {"quantization": "fp8"},
    ],
)
def test_settings_that_change_answers_change_the_fingerprint(change: dict[str, Any]) -> None:
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


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"prompt": "{question} {image}"}, r"has \{image\} in it"),
        ({"prompt": "{question} {}"}, r"has \{\} in it"),
        ({"prompt": "{question}" + "a" * 1_000_000}, "has 1000010 characters"),
        ({"prompt": "{question}\x1b[2J"}, "control characters"),
        ({"prompt": "{question}\udcff"}, "control characters"),
        ({"prompt": "\x1b]0;title\x07" * 1000}, "has"),
        ({"yes_words": ()}, "yes_words is empty"),
        ({"no_words": ("",)}, "no single word"),
        ({"yes_words": ("Yes", " ")}, "no single word"),
        ({"yes_words": ("Oh yes",)}, "no single word"),
        ({"no_words": ("No\n",)}, "no single word"),
        ({"no_words": ("N" * 100_000,)}, "no single word"),
        ({"no_words": ("No", "yes")}, "'yes' is among yes_words and no_words"),
        ({"max_pixels": 0}, "max_pixels is 0"),
        ({"max_pixels": None, "draft": True}, "give max_pixels too"),
        ({"max_pixels": -1}, "max_pixels is -1"),
        ({"max_pixels": 10**30}, "max_pixels is 1"),
        ({"dtype": "nan"}, "dtype is 'nan'"),
        ({"model": "m" * 100_000}, "which is no name"),
        ({"revision": "a\x07"}, "which is no name"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_one_line(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(TeacherInvalid, match=reason) as caught:
        TeacherConfig(**{"model": "x", **change})
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "change",
    [
        {"concurrency": 0},
        {"concurrency": 10**30},
        {"top_logprobs": -1},
        {"timeout": float("nan")},
        {"timeout": 0},
        {"max_retries": -1},
        {"batch_size": 0},
        {"max_model_len": 10**30},
        {"gpu_memory_utilization": float("nan")},
        {"min_answer_mass": 2.0},
    ],
)
def test_options_that_make_no_sense_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=f"(?m)^{next(iter(change))}$"):
        EngineOptions(**change)


def test_a_served_teacher_is_known_by_its_name_and_settings() -> None:
    known = resolve_served(TeacherConfig(model="org/name"))
    assert known.weights == "served:org/name"
    assert known.path is None
    assert known.fingerprint == resolve_served(TeacherConfig(model="org/name", dtype="float16")).fingerprint
    others = [
        TeacherConfig(model="org/other"),
        TeacherConfig(model="org/name", revision="quantized"),
        TeacherConfig(model="org/name", max_pixels=4096),
        TeacherConfig(model="org/name", prompt="{question}"),
    ]
    assert len({known.fingerprint, *(resolve_served(config).fingerprint for config in others)}) == 5
