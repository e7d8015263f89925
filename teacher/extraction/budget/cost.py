"""The cost of images and questions: in questions, in hours and in money."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# A prompt has about 264 tokens before the question, and 20 of the question (docs/budget.md).
IMAGE_COST = 13.0


def image_cost_of(account: Mapping[str, Any] | None) -> float:
    """Return the tokens of an image divided by those of a question, from the ledger of an earlier run of the teacher;
    IMAGE_COST if that does not have them."""
    if not account or not account.get("suffix_tokens") or not account.get("images") or not account.get("questions"):
        return IMAGE_COST
    shared, own = account["prefix_tokens"] / account["images"], account["suffix_tokens"] / account["questions"]
    return float(shared / own)


def hours_of_question(account: Mapping[str, Any]) -> float:
    """Return the hours of a GPU (of a worker where there was none) that a question took in the run of a ledger, which
    counts `image_cost_of` questions for each image that was seen."""
    devices = account.get("gpus") or account.get("workers") or 1
    seconds = max(float(account["seconds"]) - float(account["start_seconds"]), 1e-9)
    return seconds * devices / 3600 / max(_questions_of(account), 1.0)


def price_of_question(
    account: Mapping[str, Any], per_gpu_hour: float | None, per_million_tokens: float | None
) -> float:
    """Return the price of a question of `hours_of_question`, by time and by prompt tokens."""
    tokens = float(account.get("prompt_tokens") or 0) / max(_questions_of(account), 1.0)
    return hours_of_question(account) * (per_gpu_hour or 0.0) + tokens / 1e6 * (per_million_tokens or 0.0)


def share_within(cost: float, images: int, questions: int, image_cost: float) -> float:
    """Return the share of the pairs that can be asked for `cost` questions, 0 .. 1.

    Images are seen for as many questions as seeing them costs, so that a share s of Q questions takes about
    min(image_cost, s Q) + s Q questions an image: by the benchmark 16, 40 and 60 % of the cost of all pairs at 10, 25
    and 50 %, where 17, 38 and 60 % were measured (docs/experiments.md).
    """
    each = cost / images
    asked = each / 2 if each <= 2 * image_cost else each - image_cost
    return min(1.0, asked / questions)


def _questions_of(account: Mapping[str, Any]) -> float:
    return float(account["questions"]) + image_cost_of(account) * float(account["images"])
