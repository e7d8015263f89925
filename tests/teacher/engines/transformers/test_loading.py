"""What models asked with and without images have in common in transformers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from teacher.engines.transformers.loading import prepare, why_not_packed


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    return LlamaForCausalLM(config).bfloat16()


def test_scores_are_float32_whatever_the_dtype(model: Any) -> None:
    prepared = prepare(model, torch.device("cpu"))
    tokens = torch.tensor([[1, 2, 3]])
    hidden = prepared.model(input_ids=tokens).last_hidden_state
    logits = prepared(input_ids=tokens).logits
    assert logits.dtype == torch.float32
    assert torch.equal(logits, hidden.float() @ prepared.lm_head.weight.float().T)


@pytest.mark.parametrize(
    ("difference", "reason"),
    [(0.4, None), (0.6, "packing its questions moved the answers by 0.6 in a trial")],
    ids=["within rounding", "too far"],
)
def test_a_trial_decides_whether_questions_are_packed(model: Any, difference: float, reason: str | None) -> None:
    assert why_not_packed(model, lambda: difference) == reason


def test_a_trial_that_fails_is_a_reason(model: Any) -> None:
    def trial() -> float:
        raise IndexError("index 7 is out of range\nmore")

    assert why_not_packed(model, trial) == "a trial of packing its questions failed (index 7 is out of range)"
