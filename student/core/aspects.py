"""The aspects that a student has outputs for, and what an output is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

OutputKind = Literal["logit", "probability"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Aspect:
    """One output beside the classes: the question's key and text, and `link`, its kind: log-odds of yes or p(yes)."""

    key: str
    text: str
    link: OutputKind = "logit"


def yes_probability(aspect_logits_BQ: Tensor, aspects: Sequence[Aspect]) -> Tensor:
    """p(yes) [B, Q] of what a student says about `aspects`."""
    is_logit = torch.tensor([aspect.link == "logit" for aspect in aspects], dtype=torch.bool)
    return torch.where(is_logit.to(aspect_logits_BQ.device), aspect_logits_BQ.sigmoid(), aspect_logits_BQ.clamp(0, 1))
