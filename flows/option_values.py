"""Parse the text of options. Raises OptionInvalid, which names the option and the expected values."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

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
    _require_folder(f"--runs {text}", Path(text).expanduser())
    return text


def is_address(place: str) -> bool:
    """Return whether the place of a report is an address rather than a file."""
    return "://" in place


def report_place(text: str) -> str:
    """Return the file or address of --report. Raises OptionInvalid if it cannot be used, before hours of training."""
    if not text.strip():
        raise OptionInvalid("--report is empty; name a file, e.g. --report report.html")
    if is_address(text):
        _check_address(text)
        return text
    place = Path(text).expanduser()
    if place.is_dir():
        raise OptionInvalid(f"--report {text} is a folder; name a file in it, e.g. {place / 'report.html'}")
    _require_folder(f"--report {text}", place.parent)
    return text


def _check_address(text: str) -> None:
    """Raise OptionInvalid for other addresses than http(s), and for those that may hold a secret."""
    try:
        address = urlsplit(text)
        usable = address.scheme in ("http", "https") and bool(address.hostname)
    except ValueError:
        usable = False
    if not usable:
        raise OptionInvalid("--report is no http(s) address; write e.g. https://host/report.html, or name a file")
    if address.username or address.password or address.query:
        # It is shown on the run's page and kept by a Prefect server.
        raise OptionInvalid(
            "--report is an address with a user, a password or a query, which may be a secret; leave them out, or name "
            "a file"
        )


def _require_folder(given: str, place: Path) -> None:
    """Raise OptionInvalid if no file can be created in the folder `place`, which need not exist yet."""
    existing = next(parent for parent in (place, *place.parents) if parent.exists())
    if not existing.is_dir():
        raise OptionInvalid(f"{given}: {existing} is a file; name a folder")
    if not os.access(existing, os.W_OK):
        raise OptionInvalid(f"{given}: {existing} cannot be written to; name another folder")


def assignments(option: str, given: Sequence[str] | None) -> dict[str, Any]:
    """Return NAME=VALUE pairs, with values parsed as YAML: 0.1, true, [150, 180], cosine."""
    from storage.documents import DocumentInvalid, parse_yaml  # slow to import, and not needed for --help

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


def share(option: str, text: str) -> float:
    """Return a share above 0 and up to 1, written as 25% or 0.25."""
    number = text.strip()
    try:
        found = float(number.removesuffix("%")) / (100 if number.endswith("%") else 1)
    except ValueError:
        found = 0.0
    if not 0 < found <= 1:
        raise OptionInvalid(f"{option} {text[:100]!r} is no share above 0 and up to 100 %; write e.g. 25% or 0.25")
    return found
