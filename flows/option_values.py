"""Parse the text of options. Raises OptionInvalid, which names the option and the expected values."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from storage.errors import InputInvalid

MAX_SEED = (1 << 63) - 1  # of torch's generators


class OptionInvalid(InputInvalid):
    """An option's value cannot be parsed; the message says which and what to write."""


def words(text: str) -> list[str]:
    """Return comma-separated words; empty ones are kept, so that they are rejected rather than replaced by the
    default."""
    return [word.strip(" ") for word in text.split(",")]


def split_names(text: str) -> list[str]:
    """Return the split names of --splits."""
    if not (names := _filled(text)):
        raise OptionInvalid(f"--splits {text!r} names none; write e.g. --splits train,test")
    return names


def seed_numbers(text: str) -> list[int]:
    """Return the numbers of --seeds."""
    try:
        numbers = [int(seed) for seed in _filled(text)]
    except ValueError as error:
        raise OptionInvalid(f"--seeds {text!r} are no whole numbers; write e.g. --seeds 0,1,2") from error
    if not numbers or len(set(numbers)) < len(numbers) or min(numbers) < 0 or max(numbers) > MAX_SEED:
        raise OptionInvalid(f"--seeds {text!r} must be different numbers from 0 to 2^63 - 1; write e.g. --seeds 0,1,2")
    return numbers


def runs_folder(text: str) -> str:
    """Return the folder of --runs. Raises OptionInvalid if it cannot be created, before hours of asking."""
    if not text.strip():
        raise OptionInvalid("--runs is empty; name a folder, e.g. --runs runs/first")
    place = Path(text).expanduser()
    existing = next(parent for parent in (place, *place.parents) if parent.exists())
    if not existing.is_dir():
        raise OptionInvalid(f"--runs {text}: {existing} is a file; name a folder")
    if not os.access(existing, os.W_OK):
        raise OptionInvalid(f"--runs {text}: {existing} cannot be written to; name another folder")
    return text


def assignments(option: str, given: Sequence[str] | None) -> dict[str, Any]:
    """Return NAME=VALUE pairs, with values parsed as YAML: 0.1, true, [150, 180], cosine."""
    from storage.documents import DocumentInvalid, parse_yaml  # takes time that --help has no use for

    read: dict[str, Any] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise OptionInvalid(f"{option} {text[:100]!r} is no pair; write {option} NAME=VALUE")
        try:
            number = _number(value)
            read[name.strip().replace("-", "_")] = parse_yaml(value, "the value") if number is None else number
        except DocumentInvalid as error:
            raise OptionInvalid(f"{option} {text[:100]!r} cannot be read: {error}; put the value in quotes") from error
    return read


def _filled(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _number(value: str) -> float | None:
    """Parse a number that YAML reads as text: 1e-3."""
    try:
        return float(value) if "e" in value.lower() else None
    except ValueError:
        return None
