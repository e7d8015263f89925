"""From plain values to a teacher and an engine."""

from __future__ import annotations

import pytest

from flows.parameters import EngineParameters, TeacherParameters
from teacher.config import TINY_MODEL, TeacherInvalid


def test_a_short_name_brings_its_settings_and_any_of_them_can_be_changed() -> None:
    config = TeacherParameters(model="internvl3-8b", dtype="float16").config()
    assert (config.model, config.dtype) == ("OpenGVLab/InternVL3-8B-hf", "float16")
    assert config.processor == {"max_patches": 4}
    assert TeacherParameters(model="internvl3-8b", processor={"max_patches": 1}).config().processor == {
        "max_patches": 1
    }


def test_tiny_is_the_bundled_teacher_but_a_server_may_have_its_own() -> None:
    assert TeacherParameters().resolve("vllm").path == TINY_MODEL.resolve()
    served = TeacherParameters().resolve("openai")
    assert (served.path, served.weights, served.config.model) == (None, "served:tiny", "tiny")


def test_an_address_chooses_the_engine() -> None:
    engine = EngineParameters(base_url="http://localhost:8000/v1", workers=3)
    assert engine.choose()[0] == "openai"
    assert len(engine.devices()) == 3
    assert EngineParameters(name="transformers").choose()[0] == "transformers"


def test_workers_on_one_gpu_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    engine = EngineParameters(name="transformers", workers=4)
    assert engine.options(engine.devices().workers_per_gpu).gpu_memory_utilization == pytest.approx(0.45)
    with pytest.raises(TeacherInvalid, match="over 4 GPUs"):
        EngineParameters(name="transformers", arguments={"tensor_parallel_size": 4}).devices()
