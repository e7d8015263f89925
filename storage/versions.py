"""Versions in stored files: valid, known or newer."""

from __future__ import annotations

import re

TEXT = re.compile(r"v?(\d{1,9}(?:\.\d{1,9})?)(?!\w)")


def is_version(found: object) -> bool:
    """Whether it is a number from 1 on."""
    return isinstance(found, int | float) and not isinstance(found, bool) and found >= 1


def is_newer(found: object, known: int) -> bool:
    """Whether a file's version is beyond `known`, the newest that this release reads. Texts count ("2", "v2.1.0"): a
    later release may write its version so, and its files must not be taken for damaged ones."""
    if isinstance(found, str):
        number = TEXT.match(found)
        return number is not None and float(number[1]) > known
    return isinstance(found, int | float) and not isinstance(found, bool) and found > known
