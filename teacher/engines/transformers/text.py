"""Language models in transformers, asked without images."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from teacher.engines.base import EngineUsage, WordScores
from teacher.engines.config import ResolvedTeacher
from teacher.engines.options import EngineOptions
from teacher.engines.prompt import find_word_tokens, load_tokenizer, split_endings, tokenize_messages
from teacher.engines.transformers.loading import (
    default_device,
    load_pretrained,
    prepare,
    release_memory,
    require_stored_weights,
    why_not_packed,
)
from teacher.engines.transformers.packed import packed_logits

CHECK_MESSAGES = [[f"The class is {name}. Is it {what}?" for what in ("red", "larger than a tree")] for name in "XY"]
CHECK_WORDS = [("Yes",), ("No",)]
Prompts = Sequence[list[int]]  # the tokens of a group that begins alike


class TransformersTextModel:
    """Follows `TextModel`. Questions are packed as those about images are (`packed.py`), if the model allows it."""

    calls_at_once = 1

    def __init__(self, teacher: ResolvedTeacher, options: EngineOptions) -> None:
        self.config = teacher.config
        require_stored_weights(self.config)
        self.batch_size = options.batch_size
        self.device = default_device()
        self.tokenizer = load_tokenizer(teacher)
        # Before the model: a missing template shows at once.
        checked = [self._tokenize(group) for group in CHECK_MESSAGES]
        # Without images a vision-language model is a language model.
        kinds = (AutoModelForCausalLM, AutoModelForImageTextToText)
        self.model: Any = prepare(load_pretrained(teacher, *kinds, what="a language model"), self.device)
        self.usage = EngineUsage()
        self.slow_because = "packing is switched off" if options.plain else self._why_not_packed(checked)
        self.usage = EngineUsage()  # the trial does not count

    @torch.inference_mode()
    def logprobs(self, messages: Sequence[Sequence[str]], words: Sequence[Sequence[str]]) -> WordScores:
        started = time.perf_counter()
        tokens = find_word_tokens(self.tokenizer, words, self.config.model)
        groups = [self._tokenize(group) for group in messages]
        rendered = time.perf_counter()
        self.usage.render_seconds += rendered - started
        scores, first = self._score(groups, tokens, packed=self.slow_because is None)
        self.usage.engine_seconds += time.perf_counter() - rendered
        return WordScores(scores, map(self.tokenizer.decode, first))

    def close(self) -> None:
        del self.model
        release_memory(self.device)

    def _tokenize(self, messages: Sequence[str]) -> Prompts:
        return tokenize_messages(self.tokenizer, self.config.model, messages)

    def _score(
        self, groups: Sequence[Prompts], tokens: Sequence[tuple[int, ...]], *, packed: bool
    ) -> tuple[NDArray[np.float64], list[int]]:
        """Return log-probabilities [C, P, W] of tokens, and the likeliest token of each prompt."""
        scores = np.empty((len(groups), len(groups[0]), len(tokens)))
        first = np.empty(scores.shape[:2], np.int64)
        run = partial(self._packed if packed else self._plain, groups)
        for rows, columns, logits in run():
            scores[np.ix_(rows, columns)] = _read(logits, tokens)
            first[np.ix_(rows, columns)] = logits.argmax(-1).cpu().numpy()
        for group in groups:
            self._count(group, packed=packed)
        return scores, first.flatten().tolist()

    def _packed(self, groups: Sequence[Prompts]) -> Iterator[tuple[list[int], list[int], Tensor]]:
        """Yield logits [B, Q, V] with the indices of their groups and prompts."""
        # Groups differ in their class, which is in the shared part: nearly always all of them have the same endings.
        endings = [split_endings(group) for group in groups]
        for _, members in itertools.groupby(
            sorted(range(len(groups)), key=lambda row: endings[row]), endings.__getitem__
        ):
            rows = list(members)
            inputs = []
            for row in rows:
                prompt = torch.tensor([groups[row][0]])
                inputs.append({"input_ids": prompt, "attention_mask": torch.ones_like(prompt)})
            for places, columns, logits in packed_logits(self.model, inputs, endings[rows[0]]):
                yield [rows[place] for place in places], columns, logits

    def _plain(self, groups: Sequence[Prompts]) -> Iterator[tuple[list[int], list[int], Tensor]]:
        """Like `_packed`, with a forward pass over whole prompts: those of one length need no padding."""
        for row, group in enumerate(groups):
            by_length = sorted(range(len(group)), key=lambda column: len(group[column]))
            for _, members in itertools.groupby(by_length, key=lambda column: len(group[column])):
                columns = list(members)
                for start in range(0, len(columns), self.batch_size):
                    batch = columns[start : start + self.batch_size]
                    prompts = torch.tensor([group[column] for column in batch], device=self.device)
                    logits = self.model(input_ids=prompts, logits_to_keep=1, use_cache=False).logits
                    yield [row], batch, logits[None, :, -1]

    def _count(self, group: Prompts, *, packed: bool) -> None:
        endings = sum(map(len, split_endings(group)))
        total = sum(map(len, group))
        shared = (total - endings) // len(group)
        self.usage.questions += len(group)
        self.usage.prefix_tokens += shared
        self.usage.suffix_tokens += endings
        self.usage.prompt_tokens += total
        self.usage.cached_tokens += shared * (len(group) - 1) if packed else 0

    @torch.inference_mode()
    def _why_not_packed(self, groups: Sequence[Prompts]) -> str | None:
        """As `why_not_packed`, by a trial of `groups`."""
        tokens = [(group[0][-1],) for group in groups]  # any will do

        def trial() -> float:
            packed, plain = (self._score(groups, tokens, packed=packed)[0] for packed in (True, False))
            return float(np.abs(packed - plain).max())

        return why_not_packed(self.model, trial)


def _read(logits: Tensor, tokens: Sequence[tuple[int, ...]]) -> NDArray[np.float64]:
    """Return log-probabilities [..., W] of each word's tokens from logits [..., V]."""
    logits = logits.double()
    words = [logits[..., list(spellings)].logsumexp(-1) for spellings in tokens]
    scores: NDArray[np.float64] = (torch.stack(words, -1) - logits.logsumexp(-1, keepdim=True)).cpu().numpy()
    return scores
