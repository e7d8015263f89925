"""Why a row has no answers, permanently or for now: its `error` says which."""

from __future__ import annotations

import re

# Of an image that is there and could not be read: asked about as soon as it can.
UNREADABLE_NOW = "cannot be read now"
# Of an image that a run did not come to: it was ended, or its teacher failed.
NOT_ASKED = "not asked yet"
# What earlier releases wrote for a fault of the teacher. A filter of the server's is about the image.
OLD_FAULTS = re.compile(
    r"teacher refuses it: no log-probabilities in its answer \((?!content_filter)"
    r"|the teacher's answer is no log-probability"
)


def is_for_now(error: str) -> bool:
    """Whether the image is to be asked about again, although nothing about it has changed or can be seen to have."""
    return error.startswith((UNREADABLE_NOW, NOT_ASKED))


def is_teachers_fault(error: str) -> bool:
    """Whether an earlier release blamed the image for what the teacher did."""
    return OLD_FAULTS.match(error) is not None
