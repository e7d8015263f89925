"""Language models in transformers, asked without images."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from teacher.engines.base import EngineUsage, WordScores
from teacher.engines.config import ResolvedTeacher, TeacherInvalid, first_line
from teacher.engines.options import EngineOptions
from teacher.engines.prompt import find_word_tokens, load_tokenizer, split_endings, tokenize_messages
from teacher.engines.transformers.engine import ALLOWED, float32_logits
from teacher.engines.transformers.packed import obstacle, packed_logits

CHECK_MESSAGES = [[f"The class is {name}. Is it {what}?" for what in ("red", "larger than a tree")] for name in "XY"]
CHECK_WORDS = [("Yes",), ("No",)]
Prompts = Sequence[list[int]]  # the tokens of a group that begins alike


class TransformersTextModel:
    """Follows `TextModel`. Questions are packed as those about images are (`packed.py`), if the model allows it."""

    calls_at_once = 1

    def __init__(self, teacher: ResolvedTeacher, options: EngineOptions) -> None:
        self.config = teacher.config
        if self.config.quantization is not None:
            raise TeacherInvalid(
                f"the engine transformers does not quantize ({self.config.quantization}); use --engine vllm, or a "
                "model whose weights are stored that way"
            )
        self.batch_size = options.batch_size
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.tokenizer = load_tokenizer(teacher)
        checked = [
            self._tokenize(group) for group in CHECK_MESSAGES
        ]  # before the model: a missing template shows at once
        self.model: Any = _load(teacher).to(self.device).eval()
        self.model.get_output_embeddings().register_forward_hook(float32_logits)
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
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

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
        """Return why this model's questions are not packed; None if they are. Checks its structure, then makes a
        trial."""
        try:
            if reason := obstacle(self.model):
                return f"its questions cannot be packed: {reason}"
            tokens = [(group[0][-1],) for group in groups]  # any will do
            scores = [self._score(groups, tokens, packed=packed)[0] for packed in (True, False)]
            difference = float(np.abs(scores[0] - scores[1]).max())
        except Exception as error:  # an untested model may fail in any way: fall back to plain passes
            return f"a trial of packing its questions failed ({first_line(error)})"
        if difference <= ALLOWED[self.model.dtype]:
            return None
        return f"packing its questions moved the answers by {difference:.2g} in a trial"


def _load(teacher: ResolvedTeacher) -> Any:
    """Load a language model, or a vision-language model, which is asked without images. Raises TeacherInvalid."""
    assert teacher.path is not None, "a served teacher has no files here"
    reasons: Iterable[str] = []
    for kind in (AutoModelForCausalLM, AutoModelForImageTextToText):
        try:
            return kind.from_pretrained(
                teacher.path,
                dtype=getattr(torch, teacher.config.dtype),
                trust_remote_code=teacher.config.trust_remote_code,
            )
        except (ValueError, OSError, KeyError, ImportError) as error:
            reasons = [*reasons, first_line(error)]
    raise TeacherInvalid(
        f"transformers cannot load {teacher.path} as a language model ({'; '.join(dict.fromkeys(reasons))})"
    )


def _read(logits: Tensor, tokens: Sequence[tuple[int, ...]]) -> NDArray[np.float64]:
    """Return log-probabilities [..., W] of each word's tokens from logits [..., V]."""
    logits = logits.double()
    words = [logits[..., list(spellings)].logsumexp(-1) for spellings in tokens]
    scores: NDArray[np.float64] = (torch.stack(words, -1) - logits.logsumexp(-1, keepdim=True)).cpu().numpy()
    return scores
