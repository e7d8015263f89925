"""What changes answers is in the fingerprint, what does not is not, and plain defaults keep today's."""

from __future__ import annotations

import dataclasses
import datetime
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from flows.parameters import EngineParameters, TeacherParameters
from teacher.engines.config import (
    TINY_MODEL,
    ResolvedTeacher,
    TeacherConfig,
    TeacherInvalid,
    resolve,
    resolve_served,
    tiny_teacher,
)
from teacher.engines.options import EngineOptions
from teacher.engines.presets import PRESETS
from teacher.engines.registry import find_engine

NAME = "org/name"
GERMAN: dict[str, Any] = {"yes_words": ("Ja",), "no_words": ("Nein",)}
# Configuration, fingerprint of a local model, and of a served one: as in release 0.1.0.
FINGERPRINTS: list[tuple[dict[str, Any], str, str]] = [
    ({}, "4ebbb1d8e85b", "7b408f39a0c2"),
    ({"revision": "x"}, "4ebbb1d8e85b", "26f5b7432ac8"),
    ({"prompt": "{question} Yes or no?"}, "d466dd8ef841", "1fc9d913266e"),
    (GERMAN, "32604b94305a", "89b575c2b3da"),
    ({"max_pixels": None, "dtype": "float16"}, "8e9043a6710b", "7df66f6df397"),
    ({"processor": {"max_patches": 4}}, "84daa7df5fbc", "f138cdec9399"),
    ({"quantization": "fp8", "trust_remote_code": True}, "332abe17ab0d", "a45f607240c5"),
]
SERVER: dict[str, Any] = {"base_url": "http://localhost:8000/v1"}


def answer_settings(engine: str, arguments: dict[str, Any], top_logprobs: int = 20) -> dict[str, Any]:
    return find_engine(engine).answer_settings(EngineOptions(arguments=arguments, top_logprobs=top_logprobs))


@pytest.mark.parametrize(("change", "local", "served"), FINGERPRINTS)
def test_fingerprints_are_those_of_the_first_release(change: dict[str, Any], local: str, served: str) -> None:
    config = TeacherConfig(model=NAME, **change)
    assert ResolvedTeacher(config=config, path=Path("/m"), weights="commit:abc").fingerprint == local
    assert resolve_served(config).fingerprint == served


def test_the_bundled_teacher_and_short_names_keep_theirs() -> None:
    assert resolve(tiny_teacher()).fingerprint == "a6feda7eeb60"
    found = {
        ResolvedTeacher(config=config, path=Path("/m"), weights="commit:abc").fingerprint for config in PRESETS.values()
    }
    assert found == {"0d84db7705ae", "4ebbb1d8e85b", "84daa7df5fbc", "2ebdeee9eb2f"}


@pytest.mark.parametrize("engine", ["vllm", "transformers", "openai"])
def test_plain_engines_add_nothing(engine: str) -> None:
    assert answer_settings(engine, {}) == {}


@pytest.mark.parametrize(
    ("engine", "arguments"),
    [
        ("vllm", {"tensor_parallel_size": 2, "max_num_seqs": 8, "kv_cache_memory_bytes": 1, "seed": 3}),
        ("openai", {"user": "me", "seed": 1, "max_tokens": 2}),
        ("transformers", {"hf_overrides": {}}),
    ],
)
def test_speed_is_not_part_of_a_teacher(engine: str, arguments: dict[str, Any]) -> None:
    assert answer_settings(engine, arguments) == {}


@pytest.mark.parametrize(
    ("engine", "arguments", "top_logprobs"),
    [
        ("vllm", {"hf_overrides": {"rope_scaling": None}}, 20),
        ("vllm", {"mm_processor_kwargs": {"max_pixels": 7}}, 20),
        ("vllm", {"kv_cache_dtype": "fp8"}, 20),
        ("vllm", {"enable_lora": True}, 20),
        ("vllm", {"tokenizer": "elsewhere"}, 20),
        ("vllm", {"what_comes_next_year": 1}, 20),
        ("openai", {"chat_template_kwargs": {"enable_thinking": False}}, 20),
        ("openai", {"temperature": 1.5}, 20),
        ("openai", {}, 5),
    ],
)
def test_arguments_that_change_answers_change_the_teacher(
    engine: str, arguments: dict[str, Any], top_logprobs: int
) -> None:
    settings = answer_settings(engine, arguments, top_logprobs)
    plain = resolve_served(TeacherConfig(model=NAME))
    assert dataclasses.replace(plain, settings=settings).fingerprint != plain.fingerprint


def test_they_reach_the_fingerprint_from_the_flows_parameters() -> None:
    engine = EngineParameters(arguments={"temperature": 2}, top_logprobs=5, **SERVER)
    teacher = TeacherParameters(model="m").resolve("openai", engine.settings())
    assert teacher.description["settings"] == {"request": {"temperature": 2}, "top_logprobs": 5}


def test_secrets_in_requests_are_not_stored() -> None:
    given = {
        "api_key": "sk-secret",
        "guided_choice": ["Yes"],
        "extra_headers": {"Authorization": "Bearer sk-secret", "X-Url": "http://me:secret@host"},
        "stop_token": "a",
    }
    assert answer_settings("openai", given)["request"] == {
        "api_key": "***",
        "guided_choice": ["Yes"],
        "extra_headers": {"Authorization": "***", "X-Url": "http://***@host"},
        "stop_token": "a",
    }


@pytest.mark.parametrize(
    ("engine", "arguments", "reason"),
    [
        ("vllm", {"model": "other"}, "use --teacher"),
        ("vllm", {"dtype": "float16"}, "use --dtype"),
        ("openai", {"model": "other"}, "use --teacher"),
        ("openai", {"messages": []}, "use --prompt"),
        ("openai", {"stream": True}, "leave it out"),
        ("openai", {"seed": datetime.date(2020, 1, 1)}, "JSON cannot hold"),
        ("openai", {"temperature": math.nan}, "JSON cannot hold"),
        ("vllm", {"hf_overrides": {"a": math.inf}}, "JSON cannot hold"),
    ],
)
def test_arguments_with_their_own_option_are_rejected(engine: str, arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(TeacherInvalid, match=reason):
        answer_settings(engine, arguments)


def test_code_that_is_run_is_part_of_the_weights(tmp_path: Path) -> None:
    folder = shutil.copytree(TINY_MODEL, tmp_path / "model")
    plain = dataclasses.replace(tiny_teacher(), model=str(folder))
    trusting = dataclasses.replace(plain, trust_remote_code=True)
    before = resolve(plain).fingerprint, resolve(trusting).fingerprint
    (folder / "modeling.py").write_text("x = 1")
    after = resolve(plain).fingerprint, resolve(trusting).fingerprint
    assert before[0] == after[0]
    assert before[1] != after[1]


@pytest.mark.parametrize("gpus", ["two", 0, -1, 1.5, True, 10**40])
def test_gpus_of_a_teacher_are_a_number(gpus: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(TeacherInvalid):
        EngineParameters(name="transformers", arguments={"tensor_parallel_size": gpus}).devices()


@pytest.mark.parametrize(
    ("url", "variable"),
    [("http://me:pass-word@x/v1", "MY_KEY"), ("http://x/v1?key=pass-word", "MY_KEY"), ("http://x/v1", "sk-pass-word")],
)
def test_a_secret_among_the_parameters_is_refused_and_not_repeated(url: str, variable: str) -> None:
    with pytest.raises(TeacherInvalid) as caught:
        EngineParameters(base_url=url, api_key_variable=variable).choose()
    assert "pass-word" not in str(caught.value)
