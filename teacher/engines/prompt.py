"""Convert questions to the model's prompts, and answer words to token ids."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from PIL import Image

from storage.text import as_yaml, printable
from teacher.engines.config import (
    AnswerTokenMissing,
    ChatTemplateMissing,
    ResolvedTeacher,
    TeacherConfig,
    TeacherInvalid,
    first_line,
)

# Of thoughts: <think>, <|begin_of_thought|>, <|START_THINKING|>, [THINK], <seed:think>, and their closing ones; and the
# channels of gpt-oss and Gemma, which another channel closes.
THOUGHT = re.compile(
    r"(?:<\|?|\[|\u25c1)(?P<close>/|end_(?:of_)?)?(?:[a-z0-9]+[:_])*(?:think(?:ing)?|thoughts?|reason(?:ing)?)"
    r"(?:\|?>|\]|\u25b7)"
    r"|<\|?channel\|?>\s*(?:analysis|thought|thinking)"
    r"|(?P<other><channel\|>|<\|?channel\|?>\s*\w+)",
    re.IGNORECASE,
)
OTHER_SWITCHES = ("thinking", "think", "reasoning")  # tried where a template opens a thought
ENDING = 100  # characters that a template puts behind a message, where it cannot be found
# Marks of a word's beginning in byte-level BPE, SentencePiece and plain vocabularies.
WORD_STARTS = "\u0120\u2581 "


@dataclass(frozen=True, slots=True)
class AnswerTokens:
    """Token ids whose log-probabilities are summed for each answer."""

    yes: tuple[int, ...]
    no: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Prompts:
    """Questions as chat prompts for any image, in the order asked.

    `lengths` are in tokens, with an image counted as one; `endings` are the tokens of each prompt after the common
    beginning.
    """

    texts: Sequence[str]
    lengths: Sequence[int]
    endings: Sequence[list[int]]


def load_processor(teacher: ResolvedTeacher) -> Any:
    """Load the model's transformers processor. Raises TeacherInvalid."""
    assert teacher.path is not None, "a served teacher has no files here"
    from transformers import AutoProcessor

    try:
        processor = AutoProcessor.from_pretrained(teacher.path, trust_remote_code=teacher.config.trust_remote_code)
    except (ValueError, OSError, KeyError, ImportError) as error:
        raise TeacherInvalid(
            f"transformers cannot load the processor of {teacher.path} ({first_line(error)}); "
            "choose a model for images and text"
        ) from error
    if not hasattr(processor, "tokenizer") or not hasattr(processor, "image_processor"):
        raise TeacherInvalid(f"model {teacher.config.model} takes no images; choose a model for images and text")
    return processor


def load_tokenizer(teacher: ResolvedTeacher) -> Any:
    """Load the model's tokenizer. Raises TeacherInvalid."""
    assert teacher.path is not None, "a served teacher has no files here"
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(teacher.path, trust_remote_code=teacher.config.trust_remote_code)
    except (ValueError, OSError, KeyError, ImportError) as error:
        raise TeacherInvalid(
            f"transformers cannot load the tokenizer of {teacher.path} ({first_line(error)})"
        ) from error


def tokenize_messages(tokenizer: Any, model: str, messages: Sequence[str]) -> list[list[int]]:
    """Tokenize the chat prompts of users' messages without images. Raises as `render_prompt`."""
    prompts = [render_message(tokenizer, model, message) for message in messages]
    tokens: list[list[int]] = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    return tokens


def check_processor(processor: Any, config: TeacherConfig, prompt: str) -> None:
    """Raise TeacherInvalid if the processor rejects `config.processor`: it would then reject every image."""
    if not config.processor:
        return
    image = Image.new("RGB", (64, 64), "gray")
    try:
        processor(images=[[image]], text=[prompt], return_tensors="pt", **config.processor)
    except Exception as error:  # each family validates its settings with errors of its own
        given = ", ".join(f"{name}={as_yaml(value)}" for name, value in config.processor.items())
        raise TeacherInvalid(
            f"the image processor of {printable(config.model, 200)} does not take {printable(given, 200)} "
            f"({first_line(error)}); see --processor"
        ) from error


def tokenize_questions(processor: Any, config: TeacherConfig, questions: Sequence[str]) -> Prompts:
    """Tokenize every question's prompt, and find their common beginning. Raises ChatTemplateMissing."""
    texts = [render_prompt(processor, config, question) for question in questions]
    tokens = processor.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
    return Prompts(texts, [len(prompt) for prompt in tokens], split_endings(tokens))


def split_endings(prompts: Sequence[list[int]]) -> list[list[int]]:
    """Return the tokens of each prompt after the beginning that all share; at least its last token."""
    shared = 0
    for tokens in zip(*(prompt[:-1] for prompt in prompts), strict=False):
        if len(set(tokens)) > 1:
            break
        shared += 1
    return [prompt[shared:] for prompt in prompts]


def render_prompt(processor: Any, config: TeacherConfig, question: str) -> str:
    """Render the chat prompt for one image and one question, image first, ending where the answer's first token
    belongs.

    `processor` is a transformers processor. Raises ChatTemplateMissing if the model has no template.
    """
    return _render(processor, config.model, [{"type": "image"}, {"type": "text", "text": config.message(question)}])


def render_message(tokenizer: Any, model: str, message: str) -> str:
    """Render the chat prompt for a user's message without images, ending where the answer's first token belongs.

    Raises as `render_prompt`.
    """
    prompt = _render(tokenizer, model, message)
    if message.strip() in prompt:
        return prompt
    # Templates of some vision-language models take a list of parts alone.
    return _render(tokenizer, model, [{"type": "text", "text": message}])


def _render(processor: Any, model: str, content: str | list[dict[str, str]]) -> str:
    """Render the chat prompt of a user's message; `processor` is a transformers processor or tokenizer."""
    if not getattr(processor, "chat_template", None):
        raise ChatTemplateMissing(
            f"model {model} has no chat template; choose an instruction-tuned model such as "
            "Qwen/Qwen3-VL-8B-Instruct, or add a chat_template.jinja to its folder"
        )
    messages = [{"role": "user", "content": content}]
    render = partial(processor.apply_chat_template, messages, tokenize=False)
    # A thinking model would write its thought where the answer is read.
    switches = {"enable_thinking": False} if "enable_thinking" in str(processor.chat_template) else {}
    for names in ((), OTHER_SWITCHES):
        switches.update(dict.fromkeys(names, False))
        prompt = str(render(add_generation_prompt=True, **switches))
        if not _is_thinking(prompt, str(render(add_generation_prompt=False, **switches))):
            return prompt
    raise TeacherInvalid(
        f"model {printable(model, 100)} thinks before it answers: its chat template ends inside an open thought "
        f"('{printable(prompt.strip()[-20:], 40)}'), where it cannot say yes or no, and has no switch for that; "
        "choose a model that does not think, or change its chat_template.jinja"
    )


def _is_thinking(prompt: str, message: str) -> bool:
    """Return whether the prompt opens a thought after the user's `message` and does not close it."""
    ending = prompt.removeprefix(message) if prompt.startswith(message) else prompt[-ENDING:]
    marks = list(THOUGHT.finditer(ending))
    return bool(marks) and not (marks[-1]["close"] or marks[-1]["other"])


def find_answer_tokens(tokenizer: Any, config: TeacherConfig) -> AnswerTokens:
    """Find every single token that spells one of the answer words, in any case and with or without a leading space.

    Raises AnswerTokenMissing if yes or no has none.
    """
    vocabulary = tokenizer.get_vocab()
    return AnswerTokens(
        yes=_spellings(tokenizer, vocabulary, config.yes_words, config.model, _word_remedy("yes_words")),
        no=_spellings(tokenizer, vocabulary, config.no_words, config.model, _word_remedy("no_words")),
    )


def find_word_tokens(tokenizer: Any, words: Sequence[Sequence[str]], model: str) -> list[tuple[int, ...]]:
    """Find the single tokens of each word's spellings, see `fold`. Raises AnswerTokenMissing if one has none."""
    vocabulary = tokenizer.get_vocab()
    remedy = "set --yes-words and --no-words to words that it has, or choose another model"
    return [_spellings(tokenizer, vocabulary, spellings, model, remedy, fold) for spellings in words]


def fold(word: str) -> str:
    """Return a word in the form in which it is compared: without case, except for single letters.

    Letters name options; "a" may begin a sentence.
    """
    return word if len(word) == 1 else word.casefold()


def _word_remedy(setting: str) -> str:
    return f"set TeacherConfig.{setting} (--{setting.replace('_', '-')}) to words that it has"


def _spellings(
    tokenizer: Any,
    vocabulary: dict[str, int],
    words: Sequence[str],
    model: str,
    remedy: str,
    compared: Callable[[str], str] = str.casefold,
) -> tuple[int, ...]:
    wanted = set(map(compared, words))
    found = {token_id for token, token_id in vocabulary.items() if compared(token.lstrip(WORD_STARTS)) in wanted}
    # Vocabularies store words outside ASCII in byte form: ask the tokenizer itself about the words as they are given.
    for word in words:
        token_ids = tokenizer.encode(word, add_special_tokens=False)
        if len(token_ids) == 1 and token_ids[0] != tokenizer.unk_token_id:
            found.add(token_ids[0])
    if not found:
        raise AnswerTokenMissing(f"tokenizer of {printable(model, 200)} has no single token for '{words[0]}'; {remedy}")
    return tuple(sorted(found))
