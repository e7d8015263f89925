"""The transformers engine keeps the contract, and its numbers are those of a plain forward pass."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from teacher.config import TINY_MODEL, EngineOptions, resolve, tiny_teacher
from teacher.prompt import find_answer_tokens, render_prompt
from teacher.transformers_engine import TransformersEngine
from tests.teacher.contract import QUESTIONS, EngineContract, pictures


@pytest.fixture(scope="module")
def engine() -> Iterator[TransformersEngine]:
    engine = TransformersEngine(resolve(tiny_teacher()), EngineOptions())
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
        logits = model(**processor(images=pictures()[0], text=prompt, return_tensors="pt")).logits[0, -1]
    expected = torch.log_softmax(logits, 0)[list(tokens.yes)].logsumexp(0)
    yes, _ = engine.answer(pictures()[:1], QUESTIONS[:1])
    assert yes[0, 0] == pytest.approx(expected.item(), abs=1e-5)
