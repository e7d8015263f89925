"""Engine that runs a teacher in transformers, on any machine. Without packing it is the reference for other engines."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import AutoModelForImageTextToText

from teacher.engines.answer_mass import AnswerMass, total_mass
from teacher.engines.base import REFUSALS, EngineUsage, ImageRefused
from teacher.engines.config import ResolvedTeacher, first_line
from teacher.engines.options import EngineOptions
from teacher.engines.prompt import Prompts, check_processor, find_answer_tokens, load_processor, tokenize_questions
from teacher.engines.transformers.loading import (
    default_device,
    load_pretrained,
    prepare,
    release_memory,
    require_stored_weights,
    why_not_packed,
)
from teacher.engines.transformers.packed import packed_logits

CHECK_QUESTIONS = ("Is it red?", "Can you see something that is larger than a tree?")


class TransformersEngine:
    """Follows the contract of `TeacherEngine`.

    Questions are packed (`packed.py`) if the model allows it, otherwise there is one forward pass for questions of
    equal length on one image. `slow_because` is the reason why they are not packed; None if they are.
    """

    calls_at_once = 1

    def __init__(self, teacher: ResolvedTeacher, options: EngineOptions) -> None:
        self.config = teacher.config
        require_stored_weights(self.config)
        self.batch_size = options.batch_size
        self.device = default_device()
        self.processor: Any = load_processor(teacher)
        self.tokens = find_answer_tokens(self.processor.tokenizer, self.config)
        # Extraction asks the same questions about one chunk of images after the other.
        self._prompts = lru_cache(maxsize=4)(partial(tokenize_questions, self.processor, self.config))
        check_processor(self.processor, self.config, self._prompts(CHECK_QUESTIONS).texts[0])
        self.model: Any = prepare(self.load_model(teacher), self.device)
        self.usage = EngineUsage()
        self._first_tokens: list[int] | None = None  # the most likely of each answer, until the first batch was checked
        self.slow_because = "packing is switched off" if options.plain else self._why_not_packed()
        self.usage = EngineUsage()  # the trial does not count
        self._mass = AnswerMass(self.config, options, self.usage)

    def load_model(self, teacher: ResolvedTeacher) -> Any:
        """Load the model with its weights. Raises TeacherInvalid."""
        return load_pretrained(teacher, AutoModelForImageTextToText, what="a model for images and text")

    @torch.inference_mode()
    def answer(
        self, images: Sequence[Image.Image], questions: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        started, rendered = time.perf_counter(), self.usage.render_seconds
        self._mass.require()
        self._first_tokens = None if self._mass.is_judged else []
        prompts = self._prompts(tuple(questions))
        scores_IQ2 = self._packed(images, prompts) if self.slow_because is None else self._plain(images, prompts)
        self.usage.engine_seconds += time.perf_counter() - started - (self.usage.render_seconds - rendered)
        yes, no = scores_IQ2[..., 0], scores_IQ2[..., 1]
        self._mass.add(total_mass(yes, no), questions, map(self.processor.tokenizer.decode, self._first_tokens or ()))
        return yes, no

    def _packed(self, images: Sequence[Image.Image], prompts: Prompts) -> NDArray[np.float32]:
        """Return log-probabilities [I, Q, 2] of yes and no."""
        scores_IQ2 = np.empty((len(images), len(prompts.texts), 2), np.float32)
        inputs = [self._process(row, image, prompts.texts[:1]) for row, image in enumerate(images)]
        for rows, columns, logits in packed_logits(self.model, inputs, prompts.endings):
            scores_IQ2[np.ix_(rows, columns)] = self._read(logits)
        for one in inputs:
            self._count(prompts, one["input_ids"].shape[1] - len(prompts.endings[0]), shared_passes=1)
        return scores_IQ2

    def _plain(self, images: Sequence[Image.Image], prompts: Prompts) -> NDArray[np.float32]:
        """Return log-probabilities [I, Q, 2] of yes and no."""
        scores_IQ2 = np.empty((len(images), len(prompts.texts), 2), np.float32)
        # Prompts of one length need no padding, which would shift positions or need masks that some models ignore.
        by_length = sorted(range(len(prompts.texts)), key=lambda index: prompts.lengths[index])
        for row, image in enumerate(images):
            for _, group in itertools.groupby(by_length, key=lambda index: prompts.lengths[index]):
                same_length = list(group)
                for start in range(0, len(same_length), self.batch_size):
                    columns = same_length[start : start + self.batch_size]
                    inputs = self._process(row, image, [prompts.texts[column] for column in columns])
                    inputs = inputs.to(self.device, dtype=self.model.dtype)
                    logits = self.model(**inputs, logits_to_keep=1, use_cache=False).logits
                    scores_IQ2[row, columns] = self._read(logits[:, -1])
            shared = inputs["input_ids"].shape[1] - len(prompts.endings[columns[0]])
            self._count(prompts, shared, shared_passes=len(prompts.texts))
        return scores_IQ2

    def _process(self, row: int, image: Image.Image, prompts: Sequence[str]) -> Any:
        """Return the model's inputs for `prompts` on one image."""
        started = time.perf_counter()
        try:
            inputs = self.processor(
                images=[[image]] * len(prompts), text=list(prompts), return_tensors="pt", **self.config.processor
            )
        except REFUSALS as error:
            raise ImageRefused(row, first_line(error)) from error
        self.usage.render_seconds += time.perf_counter() - started
        return inputs

    def _count(self, prompts: Prompts, shared: int, shared_passes: int) -> None:
        """Count one image, whose `shared` tokens went through the model `shared_passes` times."""
        questions, suffix = len(prompts.texts), sum(len(ending) for ending in prompts.endings)
        self.usage.images += 1
        self.usage.questions += questions
        self.usage.prefix_tokens += shared
        self.usage.suffix_tokens += suffix
        self.usage.prompt_tokens += shared * questions + suffix
        self.usage.cached_tokens += shared * (questions - shared_passes)

    def _read(self, logits: torch.Tensor) -> NDArray[np.float32]:
        """Return log-probabilities [..., 2] of yes and no from logits [..., vocabulary]."""
        logits = logits.float()
        if self._first_tokens is not None:
            self._first_tokens += logits.argmax(-1).flatten().tolist()
        words = [logits[..., list(tokens)].logsumexp(-1) for tokens in (self.tokens.yes, self.tokens.no)]
        scores: NDArray[np.float32] = (torch.stack(words, -1) - logits.logsumexp(-1, keepdim=True)).cpu().numpy()
        return scores

    @torch.inference_mode()
    def _why_not_packed(self) -> str | None:
        """As `why_not_packed`, by a trial of two images in one batch and two questions in one row."""
        random = np.random.default_rng(0)
        images = [Image.fromarray(random.integers(0, 256, (64, 64, 3), np.uint8)) for _ in range(2)]
        prompts = self._prompts(CHECK_QUESTIONS)

        def trial() -> float:
            return float(np.abs(self._packed(images, prompts)[1:] - self._plain(images[1:], prompts)).max())

        return why_not_packed(self.model, trial)

    def close(self) -> None:
        del self.model
        release_memory(self.device)
