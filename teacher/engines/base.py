"""What every teacher engine does: images and questions in, two log-probabilities for each pair out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from storage.errors import RunFailed

REFUSALS = (ValueError, TypeError, ZeroDivisionError, RuntimeError)  # what image processors raise for odd images


class ImageRefused(ValueError):
    """The model's processor cannot take one of the images; `index` says which."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(index, reason)
        self.index = index
        self.reason = reason

    def __str__(self) -> str:
        return f"teacher refuses image {self.index}: {self.reason}"


class TeacherUnreachable(RunFailed):
    """A server gave no answer in all attempts; it may be well again later, and the shard asked again."""

    may_pass = True


class TeacherPaused(RunFailed):
    """A server takes no requests for longer than a run waits; the message says how long."""


@dataclass(slots=True, kw_only=True)
class EngineUsage:
    """What an engine has done since it was loaded; the engine counts on in it.

    `prefix_tokens` are what the questions of an image share, counted once per image; `suffix_tokens` are each
    question's own. `prompt_tokens` is what asking every pair by itself would compute, `cached_tokens` the part of it
    that was not computed again. `bounded` counts answers of which a log-probability is only a bound. `answer_mass` sums
    the probability of yes and no together over all answers. Seconds are wall clock; images are rendered while the model
    is busy.
    """

    images: int = 0
    questions: int = 0
    bounded: int = 0
    answer_mass: float = 0.0
    prefix_tokens: int = 0
    suffix_tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    render_seconds: float = 0.0
    engine_seconds: float = 0.0


class LoadedModel(Protocol):
    """What every loaded model says of itself.

    `calls_at_once` threads may call it at the same time. `slow_because` says why it works in a slower way than it
    could; None where it does not.
    """

    calls_at_once: int
    slow_because: str | None

    @property
    def usage(self) -> EngineUsage: ...

    def close(self) -> None:
        """Free the model's memory; it answers no more."""
        ...


class TeacherEngine(LoadedModel, Protocol):
    """A loaded teacher."""

    def answer(
        self, images: Sequence[Image.Image], questions: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Log-probabilities (nats) that the answer's first token is yes, and that it is no: float32 [I, Q] each.

        Over the whole vocabulary, summed over the spellings of yes and of no; order kept. `images` are RGB.
        Raises ImageRefused for an image that the model's processor cannot take.
        """
        ...
