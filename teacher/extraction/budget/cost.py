"""The cost of seeing an image, in questions."""

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
