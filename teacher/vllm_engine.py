"""A teacher run by vLLM's offline engine. The only file that imports vllm."""

from __future__ import annotations

import gc
import hashlib
import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from teacher.config import EngineOptions, ResolvedTeacher, TeacherInvalid
from teacher.engine import ImageRefused, log_sum_exp
from teacher.prompt import find_answer_tokens, render_prompt

# Read when vllm is imported. The engine runs in this process, which is one of our own already (teacher/process.py):
# a second one would only add start-up time and copies.
DEFAULTS = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_CPU_KVCACHE_SPACE": "2",
}
LONGEST_PROMPT = 4096  # tokens: an image of 1 megapixel and a question stay well below with all common models


class VllmEngine:
    """All questions of an image follow each other, so that its prefix is encoded once and then found in the cache.

    Follows the contract of `TeacherEngine`.
    """

    def __init__(self, teacher: ResolvedTeacher, options: EngineOptions) -> None:
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        from transformers import AutoProcessor
        from vllm import LLM, SamplingParams

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
        except (ValueError, OSError, KeyError) as error:
            raise TeacherInvalid(f"vLLM cannot load {teacher.path}: {_reason(error)}") from error

    def answer(
        self, images: Sequence[Image.Image], questions: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        prompts = [render_prompt(self.processor, self.config, question) for question in questions]
        requests = [
            {
                "prompt": prompt,
                "multi_modal_data": {"image": image},
                # The pixels' own digest: under any other name vLLM could give the answer to another picture.
                "multi_modal_uuids": {"image": digest},
            }
            for image, digest in ((image, _digest(image)) for image in images)
            for prompt in prompts
        ]
        try:
            outputs = self.llm.generate(requests, self.sampling, use_tqdm=False)
        except (ValueError, TypeError, ZeroDivisionError) as error:
            raise self._whose_fault(images, prompts[0], error) from error
        scores = np.asarray([self._read(output.outputs[0].logprobs[0]) for output in outputs], np.float32)
        yes_no_IQ2 = scores.reshape(len(images), len(questions), 2)
        return yes_no_IQ2[..., 0], yes_no_IQ2[..., 1]

    def _read(self, logprobs: Any) -> tuple[float, float]:
        return (
            log_sum_exp([logprobs[token].logprob for token in self.tokens.yes]),
            log_sum_exp([logprobs[token].logprob for token in self.tokens.no]),
        )

    def _whose_fault(self, images: Sequence[Image.Image], prompt: str, error: Exception) -> Exception:
        """The image that the processor refuses by itself, or else the error that stopped the whole batch."""
        for index, image in enumerate(images):
            try:
                self.processor(images=[[image]], text=[prompt])
            except (ValueError, TypeError, ZeroDivisionError) as refusal:
                return ImageRefused(index, _reason(refusal))
        return error

    def close(self) -> None:
        from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

        del self.llm
        gc.collect()
        cleanup_dist_env_and_memory()


def longest_prompt(teacher: ResolvedTeacher) -> int:
    """Tokens to reserve for one prompt: what the model can take, but no more than `LONGEST_PROMPT`."""
    document = json.loads((teacher.path / "config.json").read_text(encoding="utf-8"))
    text = document.get("text_config", document)
    return min(LONGEST_PROMPT, int(text.get("max_position_embeddings", LONGEST_PROMPT)))


def _digest(image: Image.Image) -> str:
    return hashlib.sha256(repr((image.mode, image.size)).encode() + image.tobytes()).hexdigest()


def _reason(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
