"""Dataset specifications with options: `PLACE?NAME=VALUE&NAME=VALUE`."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from storage.datasets.base import DatasetInvalid
from storage.text import printable

Options = Mapping[str, str]


def is_address(source: str) -> bool:
    """Return whether images are in an object store or on the Hugging Face Hub."""
    return source.startswith(("s3://", "gs://", "gcs://", "hf://"))


@dataclass(frozen=True, slots=True)
class Specification:
    """A dataset's place and its options; values are not unquoted yet."""

    place: str
    options: Options

    @classmethod
    def parse(cls, text: str) -> Specification:
        """Raises DatasetInvalid for an option without a value's name, and for one that is given twice."""
        place, mark, query = text.partition("?")
        if not mark or Path(text).expanduser().exists():  # a name may contain a question mark
            return cls(text, {})
        options: dict[str, str] = {}
        for part in query.split("&"):
            name, equals, value = part.partition("=")
            if not equals or not name:
                raise DatasetInvalid(
                    f"{printable(repr(part), 80)} in {printable(text, 200)} is no option; write NAME=VALUE"
                )
            if name in options:
                raise DatasetInvalid(f"{printable(text, 200)} has the option '{printable(name, 80)}' twice; keep one")
            options[name] = value
        return cls(place, options)

    def allow(self, names: Collection[str]) -> None:
        """Raise DatasetInvalid for an option that is not one of `names`."""
        for name in self.options:
            if name not in names:
                known = f"known are {', '.join(names)}" if names else "it takes none"
                raise DatasetInvalid(f"{self.place} has the unknown option '{printable(name, 80)}'; {known}")

    def text(self, name: str) -> str | None:
        """Return an option's value; None if it is not given."""
        value = self.options.get(name)
        return None if value is None else unquote(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a value's parts between commas; a comma within a part is written %2C."""
        return tuple(unquote(part).strip() for part in self.options.get(name, "").split(",") if part.strip())

    def share(self, name: str) -> float | None:
        """Return a number between 0 and 1; None if it is not given. Raises DatasetInvalid for another value."""
        if name not in self.options:
            return None
        try:
            share = float(self.options[name])
        except ValueError:
            share = math.nan
        if not 0 < share < 1:
            said = printable(repr(self.options[name]), 80)
            raise DatasetInvalid(f"{name}={said} of {self.place} is no share; write a number between 0 and 1, e.g. 0.2")
        return share
