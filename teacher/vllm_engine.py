"""A teacher run by vLLM's offline engine. The only file that imports vllm."""

from __future__ import annotations

import gc
import itertools
import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from teacher.config import EngineOptions, ResolvedTeacher, TeacherInvalid, first_line
from teacher.engine import ImageRefused, log_sum_exp
from teacher.prompt import find_answer_tokens, render_prompt

# Read when vllm is imported. The engine runs in this process, which is one of our own already (teacher/process.py):
# a second one would only add start-up time and copies.
DEFAULTS = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_CPU_KVCACHE_SPACE": "2",
    # A core for reading photos: on a CPU every small operation waits for all threads, so one that has to share its
    # core slows all of them down (measured: 11.6 against 1.8 ms a question with both of two cores taken).
    "VLLM_CPU_NUM_OF_RESERVED_CPU": "1",
}
LONGEST_PROMPT = 4096  # tokens: an image of 1 megapixel and a question stay well below with all common models


class VllmEngine:
    """Each image is processed once; its questions follow each other, so that they find its prefix in the cache.

    Follows the contract of `TeacherEngine`.
    """

    def __init__(self, teacher: ResolvedTeacher, options: EngineOptions) -> None:
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        from transformers import AutoProcessor
        from vllm import LLM, SamplingParams
        from vllm.sampling_params import RequestOutputKind

        self.config = teacher.config
        # Before the model itself: a missing template or token is found in a second.
        self.processor: Any = AutoProcessor.from_pretrained(
            teacher.path, trust_remote_code=self.config.trust_remote_code
        )
        render_prompt(self.processor, self.config, "?")
        self.tokens = find_answer_tokens(self.processor.tokenizer, self.config)
        self.sampling = SamplingParams(
            temperature=0,
            max_tokens=1,
            # Only these two words' tokens: returning more log-probabilities costs more than computing them.
            logprob_token_ids=[*self.tokens.yes, *self.tokens.no],
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        arguments: dict[str, Any] = {
            "model": str(teacher.path),
            "dtype": self.config.dtype,
            "trust_remote_code": self.config.trust_remote_code,
            "max_model_len": options.max_model_len or longest_prompt(teacher),
            "gpu_memory_utilization": options.gpu_memory_utilization,
            "limit_mm_per_prompt": {"image": 1, "video": 0},
            "enable_prefix_caching": True,
            # Scores in float32 from a bf16 model; at the top level this would do nothing for models with images.
            "hf_overrides": {"text_config": {"head_dtype": "float32"}},
            "seed": 0,
            **options.arguments,
        }
        import torch

        if not torch.cuda.is_available():
            arguments.setdefault("enforce_eager", True)
        try:
            self.llm: Any = LLM(**arguments)
            self.engine: Any = self.llm.llm_engine
            self.numbers = itertools.count()
        except (ValueError, OSError, KeyError) as error:
            raise TeacherInvalid(f"vLLM cannot load {teacher.path}: {first_line(error)}") from error

    def answer(
        self, images: Sequence[Image.Image], questions: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        prompts = [render_prompt(self.processor, self.config, question) for question in questions]
        endings = _endings([self.processor.tokenizer(prompt, add_special_tokens=False).input_ids for prompt in prompts])
        # Rendered before anything is submitted: a refused image then leaves no request behind.
        rendered = [self._render(index, image, prompts, endings) for index, image in enumerate(images)]
        scores_IQ2 = np.empty((len(images), len(questions), 2), np.float32)
        place: dict[str, tuple[int, int]] = {}
        for row, inputs in enumerate(rendered):
            for column, engine_input in enumerate(inputs):
                number = str(next(self.numbers))
                self.engine.add_request(number, engine_input, self.sampling)
                place[number] = (row, column)
        while place:
            for output in self.engine.step():
                if output.finished:
                    scores_IQ2[place.pop(output.request_id)] = self._read(output.outputs[0].logprobs[0])
        return scores_IQ2[..., 0], scores_IQ2[..., 1]

    def _render(
        self, index: int, image: Image.Image, prompts: Sequence[str], endings: Sequence[list[int]]
    ) -> list[dict[str, Any]]:
        """vLLM's engine inputs for all prompts on one image, which goes through the image processor only once."""
        request = {"prompt": prompts[0], "multi_modal_data": {"image": image}}
        try:
            (first,) = self.llm.renderer.render_cmpl([request], skip_mm_cache=True)
        except (ValueError, TypeError, ZeroDivisionError, RuntimeError) as error:
            raise ImageRefused(index, first_line(error)) from error
        tokens = list(first["prompt_token_ids"])
        shared = len(tokens) - len(endings[0])
        image_end = max(place.offset + place.length for places in first["mm_placeholders"].values() for place in places)
        assert tokens[shared:] == endings[0], "the processor changed the text behind the image"
        assert image_end <= shared, "the prompt has its question before the image"
        return [{**first, "prompt_token_ids": tokens[:shared] + ending, "prompt": None} for ending in endings]

    def _read(self, logprobs: Any) -> tuple[float, float]:
        return (
            log_sum_exp([logprobs[token].logprob for token in self.tokens.yes]),
            log_sum_exp([logprobs[token].logprob for token in self.tokens.no]),
        )

    def close(self) -> None:
        from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

        del self.llm, self.engine
        gc.collect()
        cleanup_dist_env_and_memory()


def longest_prompt(teacher: ResolvedTeacher) -> int:
    """Tokens to reserve for one prompt: what the model can take, but no more than `LONGEST_PROMPT`."""
    document = json.loads((teacher.path / "config.json").read_text(encoding="utf-8"))
    text = document.get("text_config", document)
    return min(LONGEST_PROMPT, int(text.get("max_position_embeddings", LONGEST_PROMPT)))


def _endings(prompts: Sequence[list[int]]) -> list[list[int]]:
    """What is left of each tokenized prompt behind the beginning that all of them share."""
    shared = 0
    for tokens in zip(*prompts, strict=False):
        if len(set(tokens)) > 1:
            break
        shared += 1
    return [prompt[shared:] for prompt in prompts]
