"""Check the version of a stored file: valid, known or newer."""

from __future__ import annotations

import re

TEXT = re.compile(r"v?(\d{1,9}(?:\.\d{1,9})?)(?!\w)")


def is_version(found: object) -> bool:
    """Return whether the value is a number of at least 1."""
    return isinstance(found, int | float) and not isinstance(found, bool) and found >= 1


def is_newer(found: object, known: int) -> bool:
    """Return whether a file's version is newer than `known`, the newest that this release reads.

    Text counts ("2", "v2.1.0"): a later release may write its version like that, and its files must not be taken for
    damaged.
    """
    if isinstance(found, str):
        number = TEXT.match(found)
        return number is not None and float(number[1]) > known
    return isinstance(found, int | float) and not isinstance(found, bool) and found > known
