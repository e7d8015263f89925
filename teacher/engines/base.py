"""The interface of teacher engines: images and questions in, two log-probabilities for each pair out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from storage.errors import RunFailed

REFUSALS = (ValueError, TypeError, ZeroDivisionError, RuntimeError)  # raised by image processors for unusual images


class ImageRefused(ValueError):
    """The model's processor rejects one of the images; `index` is its position."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(index, reason)
        self.index = index
        self.reason = reason

    def __str__(self) -> str:
        return f"teacher refuses image {self.index}: {self.reason}"


class TeacherUnreachable(RunFailed):
    """A server did not answer in any attempt; the shard may succeed later."""

    may_pass = True


class TeacherDied(RunFailed):
    """The engine's process ended unexpectedly; a new one can be started and the shard retried."""

    may_pass = True


class WorkerLost(TeacherDied):
    """The machine of the engine's process is gone, which says nothing about the engine or its shards."""


class TeacherPaused(RunFailed):
    """A server accepts no requests for longer than a run waits; the message says for how long."""


@dataclass(slots=True, kw_only=True)
class EngineUsage:
    """Counters of an engine since it was loaded, updated in place.

    `prefix_tokens` are shared by the questions of an image, counted once per image; `suffix_tokens` are each question's
    own. `prompt_tokens` is the total for asking every pair separately, `cached_tokens` the part that was not computed
    again. `bounded` counts answers with a log-probability that is only a bound. `answer_mass` sums the probability of
    yes and no together over all answers. Seconds are wall clock; images are rendered while the model is busy.
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
    """The interface of every loaded model.

    `calls_at_once` threads may call it at the same time. `slow_because` is the reason why it runs slower than it could;
    None if it does not.
    """

    calls_at_once: int
    slow_because: str | None

    @property
    def usage(self) -> EngineUsage: ...

    def close(self) -> None:
        """Free the model's memory; it can no longer be called."""
        ...


@dataclass(frozen=True, slots=True)
class WordScores:
    """Log-probabilities (nats) of words at the beginning of replies, float64, and the likeliest first token of each
    reply; consume `first_tokens` only where they are needed."""

    logprobs: NDArray[np.float64]
    first_tokens: Iterable[str]


class TextModel(LoadedModel, Protocol):
    """A loaded language model that is asked without images."""

    def logprobs(self, messages: Sequence[Sequence[str]], words: Sequence[Sequence[str]]) -> WordScores:
        """Return log-probabilities [C, P, W] that the reply to a user's message begins with each word.

        `messages` are C groups of P that begin alike, `words` the spellings of each word, one token each: a letter
        counts as it is written, a longer word in any case. Raises ImageRefused for a group that the model rejects, and
        TeacherInvalid for messages that are too long.
        """
        ...


class TeacherEngine(LoadedModel, Protocol):
    """A loaded teacher."""

    def answer(
        self, images: Sequence[Image.Image], questions: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return log-probabilities (nats) that the answer's first token is yes, and that it is no: float32 [I, Q] each.

        They are over the whole vocabulary, summed over the spellings of yes and of no; order is kept. `images` are RGB.
        Raises ImageRefused for an image that the model's processor rejects.
        """
        ...
