"""From plain values to a teacher and an engine."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from flows.cli.errors import explain
from flows.option_values import OptionInvalid
from flows.parameters import (
    DatasetParameters,
    EngineParameters,
    PredictionParameters,
    TeacherMissing,
    TeacherParameters,
)
from student.core.prediction_columns import PredictionColumns
from teacher.engines.config import TINY_MODEL, TeacherInvalid


def test_a_short_name_brings_its_settings_and_any_of_them_can_be_changed() -> None:
    config = TeacherParameters(model="internvl3-8b", dtype="float16").config()
    assert (config.model, config.dtype) == ("OpenGVLab/InternVL3-8B-hf", "float16")
    assert config.processor == {"max_patches": 4}
    assert TeacherParameters(model="internvl3-8b", processor={"max_patches": 1}).config().processor == {
        "max_patches": 1
    }


def test_tiny_is_the_bundled_teacher_but_a_server_may_have_its_own() -> None:
    assert TeacherParameters(model="tiny").resolve("vllm").path == TINY_MODEL.resolve()
    served = TeacherParameters(model="tiny").resolve("openai")
    assert (served.path, served.weights, served.config.model) == (None, "served:tiny", "tiny")


@pytest.mark.parametrize("prefix", ["", "coco:"])
def test_rendered_scenes_use_the_bundled_teacher_by_default(scenes: Path, prefix: str) -> None:
    dataset = DatasetParameters(source=f"{prefix}{scenes}")
    assert TeacherParameters().answering(dataset).model == "tiny"
    assert TeacherParameters(dtype="float16").answering(dataset).dtype == "float16"
    assert TeacherParameters(model="qwen3-vl-2b").answering(dataset).model == "qwen3-vl-2b"


@pytest.mark.parametrize("table", [None, b"no table", {"image_id": ["1"], "has_red": [True]}])
def test_other_images_need_a_teacher(tmp_path: Path, table: object) -> None:
    if isinstance(table, bytes):
        (tmp_path / "ground_truth.parquet").write_bytes(table)
    elif isinstance(table, dict):
        pl.DataFrame(table).write_parquet(tmp_path / "ground_truth.parquet")
    dataset = DatasetParameters(source=str(tmp_path))
    with pytest.raises(TeacherMissing, match="--teacher Qwen/Qwen3-VL-8B-Instruct"):
        TeacherParameters().answering(dataset)
    assert TeacherParameters(model="tiny").answering(dataset).model == "tiny"
    with pytest.raises(TeacherMissing):
        TeacherParameters().resolve("vllm")


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


@pytest.mark.parametrize("given", [{"api_key": "my-secret"}, {"base_url": ["http://me:my-secret@host/v1"]}])
def test_a_wrong_parameter_that_holds_a_secret_is_not_repeated(given: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="validation error") as caught:
        EngineParameters.model_validate(given)
    explained = explain(caught.value)
    assert explained is not None
    assert "my-secret" not in explained[0]
    assert "***" in explained[0]


def test_words_that_are_none_are_not_the_defaults() -> None:
    assert TeacherParameters(model="x", yes_words=["Ja"], no_words=["Nein"]).config().yes_words == ("Ja",)
    for words in ([], [""], ["Yes", ""]):
        with pytest.raises(ValueError, match="yes_words"):  # by pydantic, or by the teacher's configuration
            TeacherParameters(model="x", yes_words=words).config()


def test_columns_of_predictions_get_the_threshold_that_is_used() -> None:
    asked = PredictionParameters(top=2, abstain_for_precision=0.9)
    assert asked.columns(0.7) == PredictionColumns(top=2, abstain_below=0.7)
    with pytest.raises(OptionInvalid, match="two ways to abstain"):
        PredictionParameters(abstain_below=0.5, abstain_for_precision=0.9).require_one_threshold()
