"""Where prompts are cut, which questions share a row, and what they see there."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from teacher.engines.prompt import split_endings
from teacher.engines.transformers.packed import _mask, _rows, obstacle


def test_prompts_are_cut_where_they_begin_to_differ() -> None:
    assert split_endings([[1, 2, 3, 9], [1, 2, 4, 4, 9]]) == [[3, 9], [4, 4, 9]]


def test_every_prompt_keeps_a_token_to_answer_after() -> None:
    assert split_endings([[1, 2, 3]]) == [[3]]
    assert split_endings([[1, 2], [1, 2, 3]]) == [[2], [2, 3]]


def test_rows_keep_the_order_and_the_limit() -> None:
    assert list(_rows([4, 5, 1, 30, 2], 10)) == [[0, 1, 2], [3], [4]]


def test_a_token_sees_the_shared_part_and_its_own_question_so_far() -> None:
    seen = (_mask(torch.tensor([1, 2]), 2, torch.float32)[0, 0] == 0).int().tolist()
    assert seen == [[1, 1, 1, 0, 0], [1, 1, 0, 1, 0], [1, 1, 0, 1, 1]]


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("paligemma", "its image tokens see what comes after them"),
        ("mllama", "its language model sees the image through cross-attention"),
        ("florence2", "it is an encoder-decoder model"),
        ("qwen3_5", "not all of its layers attend to every earlier token (LinearAttentionLayer)"),
        ("gemma4", "not all of its layers attend to every earlier token (DynamicSlidingWindowLayer)"),
        ("llava_next", None),
    ],
)
def test_models_that_cannot_be_packed_are_detected_by_their_structure(family: str, reason: str | None) -> None:
    with torch.device("meta"):  # a structure without weights
        model = AutoModelForImageTextToText.from_config(AutoConfig.for_model(family))
    assert obstacle(model) == reason
