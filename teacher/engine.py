"""What every teacher engine does: images and questions in, two log-probabilities for each pair out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

EngineName = Literal["vllm", "transformers"]


class ImageRefused(ValueError):
    """The model's processor cannot take one of the images; `index` says which."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(index, reason)
        self.index = index
        self.reason = reason

    def __str__(self) -> str:
        return f"teacher refuses image {self.index}: {self.reason}"


class TeacherEngine(Protocol):
    """A loaded teacher."""

    def answer(
        self, images: Sequence[Image.Image], questions: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Log-probabilities (nats) that the answer's first token is yes, and that it is no: float32 [I, Q] each.

        Over the whole vocabulary, summed over the spellings of yes and of no; order kept. `images` are RGB.
        Raises ImageRefused for an image that the model's processor cannot take.
        """
        ...

    def close(self) -> None:
        """Free the model's memory; the engine answers no more."""
        ...


def log_sum_exp(logprobs: Sequence[float]) -> float:
    """log of the summed probabilities, in float64."""
    return float(np.logaddexp.reduce(np.asarray(logprobs, np.float64)))
