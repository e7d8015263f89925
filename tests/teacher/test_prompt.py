"""Prompts have the image first, and every spelling of yes and no counts."""

from __future__ import annotations

import dataclasses

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoProcessor, PreTrainedTokenizerFast

from teacher.config import TINY_MODEL, AnswerTokenMissing, ChatTemplateMissing, tiny_teacher
from teacher.prompt import find_answer_tokens, render_prompt


def tokenizer_of(*words: str) -> PreTrainedTokenizerFast:
    vocabulary = {word: number for number, word in enumerate(["<unk>", *words])}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(vocabulary, unk_token="<unk>")), unk_token="<unk>"
    )


def test_every_spelling_counts() -> None:
    tokenizer = tokenizer_of("Yes", "\u0120yes", "\u2581YES", "yesterday", "No", "\u0120no", "not", "Knot")
    tokens = find_answer_tokens(tokenizer, tiny_teacher())
    assert tokens.yes == (1, 2, 3)
    assert tokens.no == (5, 6)


def test_words_of_another_language_can_be_set() -> None:
    config = dataclasses.replace(tiny_teacher(), yes_words=("да",), no_words=("нет",))
    assert find_answer_tokens(tokenizer_of("да", "нет", "Yes"), config).yes == (1,)


@pytest.mark.parametrize(("words", "missing", "setting"), [(("Yes",), "No", "no_words"), (("No",), "Yes", "yes_words")])
def test_a_tokenizer_without_an_answer_is_refused(words: tuple[str, ...], missing: str, setting: str) -> None:
    with pytest.raises(AnswerTokenMissing, match=rf"no single token for '{missing}'; set TeacherConfig\.{setting}"):
        find_answer_tokens(tokenizer_of(*words), tiny_teacher())


def test_the_image_comes_before_the_question() -> None:
    processor = AutoProcessor.from_pretrained(TINY_MODEL)
    prompt = render_prompt(processor, tiny_teacher(), "Is it red?")
    image = prompt.index(processor.image_token)
    assert image < prompt.index("Is it red?") < prompt.index("Answer with Yes or No")


def test_a_model_without_a_template_is_refused() -> None:
    processor = AutoProcessor.from_pretrained(TINY_MODEL)
    processor.chat_template = None
    with pytest.raises(ChatTemplateMissing, match="no chat template"):
        render_prompt(processor, tiny_teacher(), "Is it red?")
