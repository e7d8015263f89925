"""The interface of writing models: a prompt and optional images in, an answer in a JSON schema out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from PIL import Image

from teacher.engines.base import LoadedModel

# Above 0, so that a repeated request gives other questions.
TEMPERATURE = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class WritingRequest:
    """A request for at most `length` tokens that follow `schema`. Another `seed` samples another answer."""

    prompt: str
    schema: Mapping[str, Any] = field(repr=False)
    length: int
    seed: int = 0
    images: Sequence[Image.Image] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenReply:
    """An answer. `cut` marks one that reached its length limit, `saw_images` one for which the model was shown the
    images."""

    text: str
    cut: bool = False
    saw_images: bool = False


class Writer(LoadedModel, Protocol):
    """A loaded language model."""

    def write(self, request: WritingRequest) -> WrittenReply:
        """Return the model's answer; images are left out if the model takes none.

        Raises TeacherInvalid for a request that the model rejects.
        """
        ...
