"""A teacher run by plain transformers: slower than vLLM, but on any machine, and the measure of what is right."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from teacher.config import EngineOptions, ResolvedTeacher, TeacherInvalid, first_line
from teacher.engine import ImageRefused
from teacher.prompt import find_answer_tokens, render_prompt


class TransformersEngine:
    """One forward pass for questions of equal length on one image. Follows the contract of `TeacherEngine`."""

    def __init__(self, teacher: ResolvedTeacher, options: EngineOptions) -> None:
        self.config = teacher.config
        self.batch_size = options.batch_size
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            self.processor: Any = AutoProcessor.from_pretrained(
                teacher.path, trust_remote_code=self.config.trust_remote_code
            )
            model: Any = AutoModelForImageTextToText.from_pretrained(
                teacher.path,
                dtype=getattr(torch, self.config.dtype),
                trust_remote_code=self.config.trust_remote_code,
            )
        except (ValueError, OSError, KeyError) as error:
            raise TeacherInvalid(
                f"transformers cannot load {teacher.path} as a model for images and text ({first_line(error)})"
            ) from error
        self.model = model.to(self.device).eval()
        self.tokens = find_answer_tokens(self.processor.tokenizer, self.config)
        render_prompt(self.processor, self.config, "?")
        # Scores in float32 whatever the model's dtype: bf16 rounds logits above 16 to steps of 0.125.
        self.model.get_output_embeddings().register_forward_hook(_float32_logits)

    @torch.inference_mode()
    def answer(
        self, images: Sequence[Image.Image], questions: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        yes = np.empty((len(images), len(questions)), np.float32)
        no = np.empty_like(yes)
        prompts = [render_prompt(self.processor, self.config, question) for question in questions]
        # Prompts of one length need no padding, which would shift positions or need masks that some models ignore.
        tokenizer = self.processor.tokenizer
        lengths = [len(tokenizer(prompt, add_special_tokens=False)["input_ids"]) for prompt in prompts]
        by_length = sorted(range(len(prompts)), key=lambda index: lengths[index])
        for row, image in enumerate(images):
            for _, group in itertools.groupby(by_length, key=lambda index: lengths[index]):
                same_length = list(group)
                for start in range(0, len(same_length), self.batch_size):
                    columns = same_length[start : start + self.batch_size]
                    logprobs = self._first_token(image, [prompts[column] for column in columns], row)
                    yes[row, columns] = logprobs[:, list(self.tokens.yes)].logsumexp(1).cpu().numpy()
                    no[row, columns] = logprobs[:, list(self.tokens.no)].logsumexp(1).cpu().numpy()
        return yes, no

    def _first_token(self, image: Image.Image, prompts: Sequence[str], row: int) -> torch.Tensor:
        """Log-probabilities [prompts, vocabulary] of the first answer token, float32."""
        try:
            inputs = self.processor(images=[[image]] * len(prompts), text=list(prompts), return_tensors="pt")
        except (ValueError, TypeError, ZeroDivisionError, RuntimeError) as error:
            raise ImageRefused(row, first_line(error)) from error
        inputs = inputs.to(self.device, dtype=self.model.dtype)
        logits = self.model(**inputs, logits_to_keep=1, use_cache=False).logits
        return torch.log_softmax(logits[:, -1].float(), dim=-1)

    def close(self) -> None:
        del self.model
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def _float32_logits(head: torch.nn.Linear, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
    if output.dtype == torch.float32:
        return output
    bias = None if head.bias is None else head.bias.float()
    return torch.nn.functional.linear(inputs[0].float(), head.weight.float(), bias)
