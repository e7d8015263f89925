"""Language models in vLLM agree with those in transformers in float32."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.questions import Option
from teacher.engines.classes import ClassEngine
from teacher.engines.config import TINY_MODEL, ResolvedTeacher, TeacherInvalid
from teacher.engines.options import EngineOptions
from teacher.engines.process import ModelProcess, load_engine
from teacher.engines.transformers.text import TransformersTextModel
from tests.teacher.engines.vllm.beside import Host
from tests.teacher.text_model import build_text_model
from tests.teacher.text_questions import ANY_ANSWER, CLASSES, QUESTIONS, answers_of, text_teacher

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None, reason="vLLM has no packages for this machine; see install.py"
)
_engines: dict[str, Any] = {}


@pytest.fixture(scope="module")
def process() -> Iterator[ModelProcess]:
    process = ModelProcess(Host)
    yield process
    process.close()


def ask(
    _: Any, teacher: ResolvedTeacher, options: EngineOptions, classes: Sequence[str], questions: Sequence[str | Option]
) -> tuple[np.ndarray, int]:
    """In the process: load the engine once, and ask. Returns the answers and its number of cached tokens."""
    key = f"{teacher.fingerprint} {options.max_model_len}"
    if key not in _engines:
        _engines[key] = load_engine("vllm", teacher, options)
    engine = _engines[key]
    return answers_of(engine, classes, questions), engine.usage.cached_tokens


def test_vllm_agrees_with_transformers(process: ModelProcess, tmp_path: Path) -> None:
    teacher = text_teacher(build_text_model(tmp_path))
    reference = ClassEngine(TransformersTextModel(teacher, ANY_ANSWER), teacher, ANY_ANSWER)
    found, cached = process.call(ask, teacher, ANY_ANSWER, CLASSES, QUESTIONS)
    np.testing.assert_allclose(found, answers_of(reference, CLASSES, QUESTIONS), atol=1e-4)
    assert cached > 0
    with pytest.raises(TeacherInvalid, match="raise --max-model-len"):
        process.call(ask, teacher, ANY_ANSWER, ["x" * 10_000], QUESTIONS)


def test_a_vision_language_model_agrees_as_well(process: ModelProcess) -> None:
    teacher = text_teacher(TINY_MODEL, ("Yes", "No"))
    reference = ClassEngine(TransformersTextModel(teacher, ANY_ANSWER), teacher, ANY_ANSWER)
    asked = ["red", "blue"], ["Is there a red object?", "Is there a large object in the middle?"]
    found, _ = process.call(ask, teacher, ANY_ANSWER, *asked)
    np.testing.assert_allclose(found, answers_of(reference, *asked), atol=1e-4)
