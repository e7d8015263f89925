"""Reasons in a row's `error` for having no answers, permanent or temporary."""

from __future__ import annotations

import re

# The image exists but could not be read: asked about once it can be.
UNREADABLE_NOW = "cannot be read now"
# The run did not reach the image: it was ended, or its teacher failed.
NOT_ASKED = "not asked yet"
# Written by earlier releases for faults of the teacher. A server's content filter is about the image.
OLD_FAULTS = re.compile(
    r"teacher refuses it: no log-probabilities in its answer \((?!content_filter)"
    r"|the teacher's answer is no log-probability"
)


def is_for_now(error: str) -> bool:
    """Return whether to ask about the image again, although no change of it can be detected."""
    return error.startswith((UNREADABLE_NOW, NOT_ASKED))


def is_teachers_fault(error: str) -> bool:
    """Return whether an earlier release recorded a fault of the teacher as one of the image."""
    return OLD_FAULTS.match(error) is not None
