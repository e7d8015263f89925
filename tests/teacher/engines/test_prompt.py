"""Prompts have the image first, and every spelling of yes and no counts."""

from __future__ import annotations

import dataclasses

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoProcessor, PreTrainedTokenizerFast

from teacher.engines.config import TINY_MODEL, AnswerTokenMissing, ChatTemplateMissing, TeacherInvalid, tiny_teacher
from teacher.engines.prompt import _is_thinking, check_processor, find_answer_tokens, render_prompt


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


SAY = "{% for message in messages %}{{ message['content'][1]['text'] }}{% endfor %}"
GENERATE = SAY + "{% if add_generation_prompt %}" + "ENDING{% endif %}"


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        ("Assistant:", "Assistant:"),
        ("<think>\n\n</think>\n\n", "<think>\n\n</think>\n\n"),
        (
            "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% else %}<think>{% endif %}",
            "<think></think>",
        ),
        ("{% if thinking is defined and not thinking %}</think>{% else %}<think>{% endif %}", "</think>"),
        ("{% if enable_thinking %}<think>{% endif %}", ""),
    ],
)
def test_a_thought_is_closed_where_the_template_has_a_switch(ending: str, expected: str) -> None:
    processor = AutoProcessor.from_pretrained(TINY_MODEL)
    processor.chat_template = GENERATE.replace("ENDING", ending)
    config = dataclasses.replace(tiny_teacher(), prompt="{question} <think>")
    assert render_prompt(processor, config, "Is it red?") == f"Is it red? <think>{expected}"


@pytest.mark.parametrize("opening", ["<think>\n", "<thinking>", "[THINK]", "<|begin_of_thought|>", "</think><think>"])
def test_a_model_that_has_to_think_is_refused(opening: str) -> None:
    processor = AutoProcessor.from_pretrained(TINY_MODEL)
    processor.chat_template = GENERATE.replace("ENDING", opening)
    with pytest.raises(TeacherInvalid, match="thinks before it answers") as caught:
        render_prompt(processor, tiny_teacher(), "Is it red?")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("ending", "is_open"),
    [
        ("<|START_THINKING|>", True),
        ("<|START_THINKING|><|END_THINKING|>", False),
        ("<thought>", True),
        ("<seed:think>", True),
        ("<seed:think></seed:think>", False),
        ("<mm_think>", True),
        ("\u25c1think\u25b7", True),
        ("\u25c1think\u25b7\u25c1/think\u25b7", False),
        ("<|channel|>analysis<|message|>", True),
        ("<|channel|>analysis<|message|><|end|><|channel|>final<|message|>", False),
        ("<|channel>thought\n", True),
        ("<|channel>thought\n<channel|>", False),
        ("Assistant: I think ", False),
    ],
)
def test_thoughts_of_other_families(ending: str, is_open: bool) -> None:
    assert _is_thinking("Is it red?" + ending, "Is it red?") == is_open


def test_settings_that_the_image_processor_does_not_take_are_refused() -> None:
    processor = AutoProcessor.from_pretrained(TINY_MODEL)
    config = dataclasses.replace(tiny_teacher(), processor={"size": "banana"})
    prompt = render_prompt(processor, config, "Is it red?")
    with pytest.raises(TeacherInvalid, match=r"does not take size='banana' .*see --processor"):
        check_processor(processor, config, prompt)
    check_processor(processor, tiny_teacher(), prompt)
