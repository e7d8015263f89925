"""The transformers engine keeps the contract, packed and plain, and its numbers are those of a plain forward pass."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from teacher.engines.base import ImageRefused
from teacher.engines.config import TINY_MODEL, TeacherConfig, resolve, tiny_teacher
from teacher.engines.options import EngineOptions
from teacher.engines.prompt import find_answer_tokens, render_prompt
from teacher.engines.registry import find_engine
from teacher.engines.transformers.engine import TransformersEngine
from tests.teacher.contract import QUESTIONS, EngineContract, sample_images
from tests.teacher.families import build_family


@pytest.fixture(scope="module", params=["packed", "plain"])
def engine(request: pytest.FixtureRequest) -> Iterator[TransformersEngine]:
    engine = TransformersEngine(resolve(tiny_teacher()), EngineOptions(plain=request.param == "plain"))
    assert engine.slow_because == (None if request.param == "packed" else "packing is switched off")
    yield engine
    engine.close()


class TestTransformersEngine(EngineContract):
    pass


def test_it_is_a_plain_forward_pass(engine: TransformersEngine) -> None:
    processor = AutoProcessor.from_pretrained(TINY_MODEL)
    model = AutoModelForImageTextToText.from_pretrained(TINY_MODEL, dtype=torch.float32).eval()
    tokens = find_answer_tokens(processor.tokenizer, tiny_teacher())
    prompt = render_prompt(processor, tiny_teacher(), QUESTIONS[0])
    with torch.inference_mode():
        logits = model(**processor(images=sample_images()[0], text=prompt, return_tensors="pt")).logits[0, -1]
    expected = torch.log_softmax(logits, 0)[list(tokens.yes)].logsumexp(0)
    yes, _ = engine.answer(sample_images()[:1], QUESTIONS[:1])
    assert yes[0, 0] == pytest.approx(expected.item(), abs=1e-5)


def test_usage_counts_computed_tokens(engine: TransformersEngine) -> None:
    before = engine.usage.prompt_tokens, engine.usage.cached_tokens, engine.usage.prefix_tokens
    engine.answer(sample_images()[:2], QUESTIONS[:3])
    prompt, cached, prefix = np.subtract(
        (engine.usage.prompt_tokens, engine.usage.cached_tokens, engine.usage.prefix_tokens), before
    )
    assert cached == (2 * prefix if engine.slow_because is None else 0)
    assert prompt > 3 * prefix > 0


def test_a_refused_image_is_named(engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    process = engine.processor.image_processor.preprocess

    def refuse_wide(images: list[list[Image.Image]], **options: object) -> object:
        if images[0][0].width > 100:
            raise ValueError("too wide\nby far")
        return process(images, **options)

    monkeypatch.setattr(engine.processor.image_processor, "preprocess", refuse_wide)
    with pytest.raises(ImageRefused, match=r"image 1: too wide$") as refusal:
        engine.answer([Image.new("RGB", (64, 64)), Image.new("RGB", (200, 64))], QUESTIONS[:2])
    assert refusal.value.index == 1


def test_an_image_in_many_passes_has_the_same_answers(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = engine.answer(sample_images(), QUESTIONS)
    monkeypatch.setattr("teacher.engines.transformers.packed.ROW_TOKENS", {"cpu": 60, "cuda": 60})
    monkeypatch.setattr("teacher.engines.transformers.packed.PASS_TOKENS", {"cpu": 80, "cuda": 80})
    monkeypatch.setattr(engine, "batch_size", 1)
    for ours, theirs in zip(engine.answer(sample_images(), QUESTIONS), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_bfloat16_is_packed_too() -> None:
    config = TeacherConfig(model=str(TINY_MODEL), dtype="bfloat16")
    packed = TransformersEngine(resolve(config), EngineOptions())
    plain = TransformersEngine(resolve(config), EngineOptions(plain=True))
    assert packed.slow_because is None
    difference = np.abs(
        np.subtract(packed.answer(sample_images(), QUESTIONS), plain.answer(sample_images(), QUESTIONS))
    )
    assert 0 < difference.mean() < 0.05


def test_a_model_that_cannot_be_packed_says_so_and_answers_all_the_same(tmp_path: Path) -> None:
    folder = build_family("internvl", tmp_path)
    document = json.loads((folder / "config.json").read_text())
    document["text_config"].update(use_sliding_window=True, sliding_window=16, max_window_layers=1, layer_types=None)
    (folder / "config.json").write_text(json.dumps(document))
    config = TeacherConfig(model=str(folder), dtype="float32")
    engine = TransformersEngine(resolve(config), EngineOptions())
    assert engine.slow_because is not None
    assert "DynamicSlidingWindowLayer" in engine.slow_because
    plain = TransformersEngine(resolve(config), EngineOptions(plain=True))
    np.testing.assert_array_equal(engine.answer(sample_images(), QUESTIONS), plain.answer(sample_images(), QUESTIONS))


def test_a_model_whose_packed_answers_differ_is_not_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    # As in a model whose positions are not where this engine takes them to be.
    monkeypatch.setattr(
        "teacher.engines.transformers.packed._mask",
        lambda paths, tokens, shared, dtype: torch.zeros(1, 1, 1, 1, dtype=dtype),
    )
    engine = TransformersEngine(resolve(tiny_teacher()), EngineOptions())
    assert engine.slow_because is not None
    assert engine.slow_because.startswith("packing its questions moved the answers by")


def test_a_model_that_fails_when_packed_is_not_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "teacher.engines.transformers.packed._mask", lambda paths, tokens, shared, dtype: torch.zeros(1, 1, 3, 3)
    )
    engine = TransformersEngine(resolve(tiny_teacher()), EngineOptions())
    assert engine.slow_because is not None
    assert engine.slow_because.startswith("a trial of packing its questions failed (")


def test_scikit_learn_is_not_imported_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import utils

    monkeypatch.setattr(utils, "is_sklearn_available", lambda: True)
    find_engine("transformers").load(resolve(tiny_teacher()), EngineOptions()).close()
    assert not vars(utils)["is_sklearn_available"]()
