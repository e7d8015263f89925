"""Models of several families, cutting images into tiles each in its own way: every engine gives the same answers."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from storage.images.decode import decode_image
from teacher.engines.base import TeacherEngine
from teacher.engines.config import ResolvedTeacher, TeacherConfig, resolve
from teacher.engines.options import EngineOptions
from teacher.engines.process import ModelProcess
from teacher.engines.transformers.engine import TransformersEngine
from tests.conftest import vllm_release
from tests.teacher.contract import QUESTIONS
from tests.teacher.engines.vllm.beside import EngineBeside, Host
from tests.teacher.families import FAMILIES, build_family


def sample_images() -> list[Image.Image]:
    """Noise: square, wide, tall, tiny, huge, extreme; of one colour, and the same shape again; files of other kinds."""
    random = np.random.default_rng(0)
    sizes = [(64, 64), (48, 120), (120, 48), (5, 7), (1100, 1500), (1500, 1100), (33, 400)]
    noise = [Image.fromarray(random.integers(0, 256, (*size, 3), np.uint8)) for size in sizes]
    sideways = Image.Exif()
    sideways[ExifTags.Base.Orientation] = 6
    files = [
        encoded(noise[1].convert("L"), "PNG"),
        encoded(noise[2].rotate(180).convert("CMYK"), "JPEG"),
        encoded(noise[0].rotate(180).convert("RGBA"), "PNG"),
        encoded(noise[1].rotate(180), "JPEG", exif=sideways),
    ]
    return [*noise, Image.new("RGB", (200, 150), "red"), noise[0].rotate(90), *map(decode_image, files)]


def encoded(image: Image.Image, kind: str, **settings: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


@pytest.fixture(scope="module", params=FAMILIES)
def teacher(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ResolvedTeacher:
    folder = build_family(request.param, tmp_path_factory.mktemp(request.param))
    return resolve(TeacherConfig(model=str(folder), dtype="float32"))


@pytest.fixture(scope="module")
def reference(teacher: ResolvedTeacher) -> np.ndarray:
    """Log-probabilities [2, I, Q] from plain forward passes, a question each."""
    return np.stack(
        TransformersEngine(teacher, EngineOptions(plain=True, batch_size=1)).answer(sample_images(), QUESTIONS)
    )


def test_answers_differ_between_images_and_between_questions(reference: np.ndarray) -> None:
    spread = np.abs(reference[:, :, None] - reference[:, None]).max((0, 3))
    assert spread[~np.eye(len(spread), dtype=bool)].min() > 0.05
    assert np.ptp(reference, axis=2).min() > 0.05


def test_packed_answers_are_plain_ones(teacher: ResolvedTeacher, reference: np.ndarray) -> None:
    engine = TransformersEngine(teacher, EngineOptions())
    assert engine.slow_because is None
    assert_same_in_any_order(engine, reference)


@pytest.mark.parametrize(("row", "tokens"), [(40, 100), (100, 20_000), (4000, 20_000)])
def test_packed_answers_do_not_depend_on_the_batches(
    teacher: ResolvedTeacher, reference: np.ndarray, monkeypatch: pytest.MonkeyPatch, row: int, tokens: int
) -> None:
    monkeypatch.setattr("teacher.engines.transformers.packed.ROW_TOKENS", {"cpu": row, "cuda": row})
    monkeypatch.setattr("teacher.engines.transformers.packed.PASS_TOKENS", {"cpu": tokens, "cuda": tokens})
    answers = TransformersEngine(teacher, EngineOptions()).answer(sample_images(), QUESTIONS)
    np.testing.assert_allclose(answers, reference, atol=1e-4)


@pytest.fixture(scope="module")
def process() -> Iterator[ModelProcess]:
    """In which vLLM is imported once for all families."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM has no packages for this machine; see install.py")
    process = ModelProcess(Host)
    yield process
    process.close()


@pytest.fixture(scope="module")
def vllm(process: ModelProcess, teacher: ResolvedTeacher) -> EngineBeside:
    if vllm_release().startswith("0.23.") and "llava_onevision" in teacher.config.model:
        pytest.skip("vLLM 0.23 does not load LLaVA-OneVision beside transformers 5.17 and later")
    return EngineBeside(process, teacher, EngineOptions())


def test_vllm_agrees_with_transformers(vllm: EngineBeside, reference: np.ndarray) -> None:
    assert_same_in_any_order(vllm, reference)


def test_vllm_answers_about_images_of_one_size_rendered_together(teacher: ResolvedTeacher, vllm: EngineBeside) -> None:
    assert vllm.slow_because is None  # it was tried when the model was loaded
    random = np.random.default_rng(2)
    sizes = [(48, 120), (64, 64)] * 7  # of one size, but not next to each other
    images = [Image.fromarray(random.integers(0, 256, (*size, 3), np.uint8)) for size in sizes]
    expected = TransformersEngine(teacher, EngineOptions()).answer(images, QUESTIONS)
    np.testing.assert_allclose(vllm.answer(images, QUESTIONS), expected, atol=1e-4)


@pytest.fixture(scope="module")
def internvl(tmp_path_factory: pytest.TempPathFactory) -> TeacherConfig:
    folder = build_family("internvl", tmp_path_factory.mktemp("internvl"))
    return TeacherConfig(model=str(folder), dtype="float32")


@pytest.fixture(scope="module")
def one_tile(internvl: TeacherConfig) -> ResolvedTeacher:
    return resolve(dataclasses.replace(internvl, processor={"max_patches": 1}))


def test_settings_of_the_image_processor_reach_transformers(internvl: TeacherConfig, one_tile: ResolvedTeacher) -> None:
    wide = sample_images()[4:6]
    plain = TransformersEngine(one_tile, EngineOptions(plain=True))
    expected = plain.answer(wide, QUESTIONS)
    tiled = TransformersEngine(resolve(internvl), EngineOptions())
    tiled.answer(wide, QUESTIONS)
    assert tiled.usage.prefix_tokens > plain.usage.prefix_tokens
    packed = TransformersEngine(one_tile, EngineOptions())
    np.testing.assert_allclose(packed.answer(wide, QUESTIONS), expected, atol=1e-4)


def test_settings_of_the_image_processor_reach_vllm(process: ModelProcess, one_tile: ResolvedTeacher) -> None:
    wide = sample_images()[4:6]
    expected = TransformersEngine(one_tile, EngineOptions()).answer(wide, QUESTIONS)
    vllm = EngineBeside(process, one_tile, EngineOptions())
    np.testing.assert_allclose(vllm.answer(wide, QUESTIONS), expected, atol=1e-4)


def assert_same_in_any_order(engine: TeacherEngine, reference: np.ndarray) -> None:
    """`engine` answers as `reference` says, whatever order images and questions come in."""
    np.testing.assert_allclose(engine.answer(sample_images(), QUESTIONS), reference, atol=1e-4)
    random = np.random.default_rng(1)
    images, questions = random.permutation(len(sample_images())), random.permutation(len(QUESTIONS))
    shuffled = engine.answer(
        [sample_images()[image] for image in images], [QUESTIONS[question] for question in questions]
    )
    np.testing.assert_allclose(shuffled, reference[:, images][:, :, questions], atol=1e-4)
