"""Language models in vLLM's offline engine, asked without images."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.documents import read_json
from storage.text import printable
from teacher.engines.base import EngineUsage, WordScores
from teacher.engines.config import ResolvedTeacher, TeacherInvalid
from teacher.engines.options import EngineOptions
from teacher.engines.prompt import find_word_tokens, load_tokenizer, split_endings, tokenize_messages
from teacher.engines.vllm.load import free_vllm, load_vllm, set_defaults

LONGEST_PROMPT = 4096  # tokens: a class with its description and a question with nine options


class VllmTextModel:
    """Follows `TextModel`. The messages of a group follow each other, so that they find their beginning in the cache.

    The model runs in one thread: the one that loads it binds CPU threads to cores, and CUDA to a device.
    """

    calls_at_once = 1
    slow_because: str | None = None

    def __init__(self, teacher: ResolvedTeacher, options: EngineOptions) -> None:
        set_defaults()
        self.config = teacher.config
        self.tokenizer = load_tokenizer(teacher)
        # Before the model: a missing template is found within a second.
        tokenize_messages(self.tokenizer, self.config.model, ["Is it red?"])
        self.usage = EngineUsage()
        self._thread = ThreadPoolExecutor(1, "vllm")
        self.llm: Any = self._thread.submit(_load, teacher, options).result()

    def logprobs(self, messages: Sequence[Sequence[str]], words: Sequence[Sequence[str]]) -> WordScores:
        started = time.perf_counter()
        tokens = find_word_tokens(self.tokenizer, words, self.config.model)
        groups = [tokenize_messages(self.tokenizer, self.config.model, group) for group in messages]
        self._check_lengths(messages, groups)
        rendered = time.perf_counter()
        self.usage.render_seconds += rendered - started
        outputs = self._thread.submit(self._generate, groups, tokens).result()
        self.usage.engine_seconds += time.perf_counter() - rendered
        for group in groups:
            endings = sum(map(len, split_endings(group)))
            self.usage.prefix_tokens += (sum(map(len, group)) - endings) // len(group)
            self.usage.suffix_tokens += endings
        for output in outputs:
            self.usage.questions += 1
            self.usage.prompt_tokens += len(output.prompt_token_ids)
            self.usage.cached_tokens += output.num_cached_tokens or 0
        scores = np.array([_read(output, tokens) for output in outputs])
        first_tokens = (self.tokenizer.decode(output.outputs[0].token_ids[0]) for output in outputs)
        return WordScores(scores.reshape(len(groups), len(groups[0]), len(tokens)), first_tokens)

    def close(self) -> None:
        self._thread.shutdown()
        del self.llm
        free_vllm()

    def _generate(self, groups: Sequence[Sequence[list[int]]], tokens: Sequence[tuple[int, ...]]) -> list[Any]:
        from vllm import SamplingParams

        sampling = SamplingParams(
            temperature=0,
            max_tokens=1,
            logprob_token_ids=sorted({token for spellings in tokens for token in spellings}),
            detokenize=False,
        )
        requests = [{"prompt_token_ids": prompt} for group in groups for prompt in group]
        outputs: list[Any] = self.llm.generate(requests, sampling, use_tqdm=False)
        return outputs

    def _check_lengths(self, messages: Sequence[Sequence[str]], groups: Sequence[Sequence[list[int]]]) -> None:
        limit = self.llm.model_config.max_model_len
        for texts, prompts in zip(messages, groups, strict=True):
            for text, prompt in zip(texts, prompts, strict=True):
                if len(prompt) >= limit:
                    raise TeacherInvalid(
                        f"the message '{printable(text, 60)}' makes a prompt of {len(prompt)} tokens, and the model "
                        f"takes {limit} with its answer; shorten class, description or question, or raise "
                        "--max-model-len"
                    )


def _load(teacher: ResolvedTeacher, options: EngineOptions) -> Any:
    assert teacher.path is not None, "a served teacher has no files here"
    # Scores in float32 from a bf16 model.
    scores: dict[str, Any] = {"head_dtype": "float32"}
    if "text_config" in read_json(teacher.path / "config.json"):  # a vision-language model
        no_images = {"limit_mm_per_prompt": {"image": 0, "video": 0}}
        return load_vllm(teacher, options, LONGEST_PROMPT, hf_overrides={"text_config": scores}, **no_images)
    return load_vllm(teacher, options, LONGEST_PROMPT, hf_overrides=scores)


def _read(output: Any, tokens: Sequence[tuple[int, ...]]) -> NDArray[np.float64]:
    """Return log-probabilities [W] of each word's tokens."""
    logprobs = output.outputs[0].logprobs[0]
    words = [np.logaddexp.reduce([logprobs[token].logprob for token in spellings]) for spellings in tokens]
    return np.array(words, np.float64)
