"""vLLM's engines, all in one process, keep the contracts and agree with transformers.

Importing vLLM takes longer than loading a small model, so the engine for classes and the writer are loaded beside the
engine for images.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from storage.datasets import BoxImages, BoxView, ImageRecord, image_folder, open_detection_dataset
from storage.images.decode import decode_image
from storage.questions import Option
from teacher.engines.base import ImageRefused
from teacher.engines.classes import ClassEngine
from teacher.engines.config import (
    TINY_MODEL,
    ResolvedTeacher,
    TeacherConfig,
    TeacherInvalid,
    resolve,
    tiny_teacher,
)
from teacher.engines.options import EngineOptions
from teacher.engines.process import EngineProcess, load_engine
from teacher.engines.prompt import load_processor, tokenize_questions
from teacher.engines.transformers.engine import TransformersEngine
from teacher.engines.transformers.text import TransformersTextModel
from teacher.engines.vllm.engine import VllmEngine
from tests.conftest import link_coco128, vllm_release
from tests.teacher.contract import QUESTIONS, EngineContract, sample_images
from tests.teacher.engines.test_answer_mass import SILENT, refused
from tests.teacher.engines.vllm.beside import EngineBeside, WriterBeside
from tests.teacher.text_model import build_text_model
from tests.teacher.text_questions import ANY_ANSWER, CLASSES, answers_of, text_teacher
from tests.teacher.text_questions import QUESTIONS as ABOUT_CLASSES
from tests.teacher.writer_contract import WriterContract

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None, reason="vLLM has no packages for this machine; see install.py"
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    # As on a machine without a compiler, on which nothing was compiled before.
    bare = {"CXX": "no-compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path_factory.mktemp("inductor"))}
    engine = EngineProcess("vllm", resolve(tiny_teacher()), EngineOptions(), environment=bare)
    yield engine
    engine.close()


class TestVllmEngine(EngineContract):
    pass


def test_vllm_agrees_with_transformers_in_float32(engine: EngineProcess) -> None:
    reference = TransformersEngine(resolve(tiny_teacher()), EngineOptions())
    yes, no = engine.answer(sample_images(), QUESTIONS)
    expected_yes, expected_no = reference.answer(sample_images(), QUESTIONS)
    np.testing.assert_allclose(yes, expected_yes, atol=1e-4)
    np.testing.assert_allclose(no, expected_no, atol=1e-4)


def test_vllm_agrees_with_transformers_on_real_images(engine: EngineProcess, shared_data: Path) -> None:
    dataset = image_folder(shared_data / "flowers102_64")
    images = [decode_image(dataset.read(record.image_id)) for record in dataset.records[::800]]
    reference = TransformersEngine(resolve(tiny_teacher()), EngineOptions())
    for ours, expected in zip(engine.answer(images, QUESTIONS), reference.answer(images, QUESTIONS), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_vllm_answers_about_the_boxes_of_real_images(engine: EngineProcess, shared_data: Path, tmp_path: Path) -> None:
    dataset = BoxImages(open_detection_dataset(str(link_coco128(shared_data, tmp_path / "coco128"))), BoxView())
    seen = [record for record in dataset.records[:60] if min(sides(record)) >= dataset.view.smallest][:20]
    images = [decode_image(dataset.read(record.image_id)) for record in seen]
    reference = TransformersEngine(resolve(tiny_teacher()), EngineOptions())
    for ours, expected in zip(engine.answer(images, QUESTIONS), reference.answer(images, QUESTIONS), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-4)


def sides(record: ImageRecord) -> tuple[float, float]:
    assert record.box is not None
    left, top, right, bottom = record.box
    return right - left, bottom - top


def test_documented_calls_give_the_same_answers(engine: EngineProcess) -> None:
    plain = EngineBeside(engine, resolve(tiny_teacher()), EngineOptions(plain=True))
    assert engine.slow_because is None
    assert plain.slow_because == "rendering is switched off"
    expected = plain.answer(sample_images(), QUESTIONS)
    np.testing.assert_allclose(engine.answer(sample_images(), QUESTIONS), expected, atol=1e-4)


def in_other_colours(engine: VllmEngine) -> None:
    """In the engine's process: its image processor is changed, that of vLLM is not."""
    images = [Image.effect_noise((64, 64), 90).convert("RGB") for _ in range(8)]
    assert engine._renderer is not None
    assert engine._renderer.together(images, engine._prompts(QUESTIONS)) is not None
    before = np.stack(engine.answer(images, QUESTIONS))
    processor = engine.processor.image_processor
    mean, processor.image_mean = processor.image_mean, [0.1, 0.2, 0.3]
    try:
        assert engine._renderer.together(images, engine._prompts(QUESTIONS)) is None
        np.testing.assert_allclose(engine.answer(images, QUESTIONS), before, atol=1e-4)
    finally:
        processor.image_mean = mean


def test_an_image_processor_that_is_not_vllms_is_noticed(engine: EngineProcess) -> None:
    engine.call(in_other_colours)  # an error in it would end the process


@pytest.mark.parametrize("plain", [False, True])
def test_other_first_tokens_than_yes_and_no_are_named(engine: EngineProcess, plain: bool) -> None:
    refused(EngineBeside(engine, resolve(SILENT), EngineOptions(plain=plain)))


def test_a_question_longer_than_the_model_takes_is_named(engine: EngineProcess) -> None:
    endless = "Is there a red object, " + "or a blue one, " * 200 + "in the picture?"
    with pytest.raises(TeacherInvalid, match=r"'Is there a red object.* makes a prompt of \d+ tokens.* takes 512"):
        engine.answer(sample_images(), [QUESTIONS[0], endless])


def test_an_image_that_leaves_no_room_for_the_longest_question_is_refused(engine: EngineProcess) -> None:
    teacher = resolve(tiny_teacher())
    candidates = ["Is there " + "red or " * words + "blue?" for words in range(300)]
    prompts = tokenize_questions(load_processor(teacher), teacher.config, candidates)
    question = candidates[max(index for index, length in enumerate(prompts.lengths) if length < 512)]
    with pytest.raises(ImageRefused, match=r"longest question it takes 5\d\d tokens, and the model 512 .*--max-pixels"):
        engine.answer(sample_images()[:1], [QUESTIONS[0], question])


@pytest.mark.skipif(vllm_release().startswith("0.23."), reason="vLLM 0.23 has no 8-bit weights that a CPU takes")
def test_weights_of_8_bits_answer_a_little_otherwise(engine: EngineProcess) -> None:
    small = dataclasses.replace(tiny_teacher(), dtype="bfloat16", quantization="fp8_per_channel")
    ours = EngineBeside(engine, resolve(small), EngineOptions()).answer(sample_images()[:2], QUESTIONS)
    expected = engine.answer(sample_images()[:2], QUESTIONS)
    first, second = (1 / (1 + np.exp(no - yes)) for yes, no in (ours, expected))
    np.testing.assert_allclose(first, second, atol=0.3)
    assert np.abs(np.stack(ours) - np.stack(expected)).max() > 0.02  # float32 engines agree within 0.0001


def test_an_unknown_quantization_is_refused_by_name(engine: EngineProcess) -> None:
    unknown = dataclasses.replace(tiny_teacher(), quantization="nonsense")
    with pytest.raises(TeacherInvalid, match="Unknown quantization method: nonsense"):
        EngineBeside(engine, resolve(unknown), EngineOptions())


def test_callers_at_the_same_time_get_their_own_answers(engine: EngineProcess) -> None:
    expected = np.stack(engine.answer(sample_images(), QUESTIONS))
    with ThreadPoolExecutor(4) as callers:
        calls = [callers.submit(engine.answer, sample_images()[index:], QUESTIONS[: index + 1]) for index in range(6)]
        for index, call in enumerate(calls):
            np.testing.assert_allclose(call.result(), expected[:, index:, : index + 1], atol=1e-4)


def test_usage_is_counted(engine: EngineProcess) -> None:
    before = dataclasses.replace(engine.usage)
    engine.answer(sample_images(), QUESTIONS)
    after = engine.usage
    assert after.images - before.images == len(sample_images())
    assert after.questions - before.questions == len(sample_images()) * len(QUESTIONS)
    prefix, suffix = after.prefix_tokens - before.prefix_tokens, after.suffix_tokens - before.suffix_tokens
    assert after.prompt_tokens - before.prompt_tokens == prefix * len(QUESTIONS) + suffix
    assert after.engine_seconds > before.engine_seconds


@pytest.fixture(scope="module")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_text_model(tmp_path_factory.mktemp("text-model"))


@pytest.fixture(scope="module")
def writer(engine: EngineProcess, text_model: Path) -> WriterBeside:
    teacher = resolve(TeacherConfig(model=str(text_model), dtype="float32"))
    return WriterBeside(engine, teacher, EngineOptions(), images=1)


class TestVllmWriter(WriterContract):
    pass


_class_engines: dict[str, Any] = {}


def ask(
    _: Any, teacher: ResolvedTeacher, classes: Sequence[str], questions: Sequence[str | Option]
) -> tuple[np.ndarray, int]:
    """In the process: load the engine for classes once, and ask. Returns answers and the number of cached tokens."""
    if teacher.fingerprint not in _class_engines:
        _class_engines[teacher.fingerprint] = load_engine("vllm", teacher, ANY_ANSWER)
    engine = _class_engines[teacher.fingerprint]
    return answers_of(engine, classes, questions), engine.usage.cached_tokens


def test_a_language_model_agrees_with_transformers_about_classes(engine: EngineProcess, text_model: Path) -> None:
    teacher = text_teacher(text_model)
    reference = ClassEngine(TransformersTextModel(teacher, ANY_ANSWER), teacher, ANY_ANSWER)
    found, cached = engine.call(ask, teacher, CLASSES, ABOUT_CLASSES)
    np.testing.assert_allclose(found, answers_of(reference, CLASSES, ABOUT_CLASSES), atol=1e-4)
    assert cached > 0
    with pytest.raises(TeacherInvalid, match="raise --max-model-len"):
        engine.call(ask, teacher, ["x" * 10_000], ABOUT_CLASSES)


def test_a_vision_language_model_agrees_about_classes(engine: EngineProcess) -> None:
    teacher = text_teacher(TINY_MODEL, ("Yes", "No"))
    reference = ClassEngine(TransformersTextModel(teacher, ANY_ANSWER), teacher, ANY_ANSWER)
    asked = ["red", "blue"], ["Is there a red object?", "Is there a large object in the middle?"]
    found, _ = engine.call(ask, teacher, *asked)
    np.testing.assert_allclose(found, answers_of(reference, *asked), atol=1e-4)
