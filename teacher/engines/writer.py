"""What every language model does that writes: a prompt and perhaps images in, an answer by a JSON schema out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from PIL import Image

from teacher.engines.base import LoadedModel

# Between always the same and anything goes: asked again, a model should think of something else.
TEMPERATURE = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class WritingRequest:
    """What is to be written: at most `length` tokens that follow `schema`. Another `seed` draws another answer."""

    prompt: str
    schema: Mapping[str, Any] = field(repr=False)
    length: int
    seed: int = 0
    images: Sequence[Image.Image] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenReply:
    """An answer. `cut` says that its length ended it, `saw_images` that the model was shown the images."""

    text: str
    cut: bool = False
    saw_images: bool = False


class Writer(LoadedModel, Protocol):
    """A loaded language model."""

    def write(self, request: WritingRequest) -> WrittenReply:
        """The model's answer; images are left out where it takes none. Raises TeacherInvalid for a request that the
        model cannot take."""
        ...
