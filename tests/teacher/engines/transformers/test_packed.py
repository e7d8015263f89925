"""Where prompts are cut, which questions share a row, and what they see there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText

from teacher.engines.config import resolve, tiny_teacher
from teacher.engines.options import EngineOptions
from teacher.engines.prompt import split_endings
from teacher.engines.transformers.engine import TransformersEngine
from teacher.engines.transformers.packed import _mask, _rows, _tree, obstacle


def test_prompts_are_cut_where_they_begin_to_differ() -> None:
    assert split_endings([[1, 2, 3, 9], [1, 2, 4, 4, 9]]) == [[3, 9], [4, 4, 9]]


def test_every_prompt_keeps_a_token_to_answer_after() -> None:
    assert split_endings([[1, 2, 3]]) == [[3]]
    assert split_endings([[1, 2], [1, 2, 3]]) == [[2], [2, 3]]


def test_rows_keep_the_limit_and_put_together_what_begins_alike() -> None:
    endings = [[1, 2, 3, 9], [5] * 30, [1, 2, 4, 9], [1, 7, 9], [1, 2]]
    assert list(_rows(endings, 9)) == [[4, 0, 2, 3], [1]]  # a tree of 2 + 2 + 2 + 2 tokens
    assert list(_rows(endings, 7)) == [[4, 0, 2], [3], [1]]


def test_a_beginning_stands_once_in_a_row() -> None:
    beginnings, paths = _tree([[1, 2, 9], [1, 9], [1, 2, 9]])
    assert beginnings == [(1,), (1, 2), (1, 2, 9), (1, 9)]
    assert paths == [[0, 1, 2], [0, 3], [0, 1, 2]]


def test_a_token_sees_the_shared_part_and_its_own_question_so_far() -> None:
    seen = (_mask([[0, 1, 2], [0, 3]], 4, 1, torch.float32)[0, 0] == 0).int().tolist()
    assert seen == [[1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 1]]


def test_the_order_of_questions_is_kept_and_the_same_one_may_come_twice() -> None:
    engine = TransformersEngine(resolve(tiny_teacher()), EngineOptions())
    image = Image.new("RGB", (64, 64), (200, 30, 30))
    questions = ["Is the ground red?", "Is a circle there?", "Is the ground blue?", "Is a circle there?"]
    together = np.stack(engine.answer([image], questions))[:, 0]
    for column, question in enumerate(questions):
        alone = np.stack(engine.answer([image], [question, questions[column - 1]]))[:, 0, 0]
        np.testing.assert_allclose(together[:, column], alone, atol=1e-4)
    assert len(np.unique(together[0].round(4))) == 3


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
