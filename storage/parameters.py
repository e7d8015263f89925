"""Groups of parameters, each declared once and used by the command line, the flows and the code they configure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """Settings of a field's command-line option, where it differs from `--FIELD VALUE` in the group's panel.

    `flags` are its names, the long one first; `panel` is its heading in --help. `read` converts the given text to the
    field's value. A `repeatable` option builds a list. A `hidden` field has no option. Without `read`, a list is given
    as comma-separated words, and a mapping as repeatable NAME=VALUE.
    """

    flags: tuple[str, ...] = ()
    panel: str | None = None
    metavar: str | None = None
    read: Callable[[str], Any] | None = None
    repeatable: bool = False
    hidden: bool = False


HIDDEN = Option(hidden=True)


class Parameters(BaseModel):
    """A group of parameters.

    Unknown names are rejected, and so is empty text, e.g. from an unset variable of a script. A field's description is
    its help on the command line and on Prefect's pages.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, str_min_length=1, allow_inf_nan=False)

    panel: ClassVar[str | None] = None


@dataclass(frozen=True, slots=True)
class Only:
    """A subset of a group's fields that a command has as options, with different help for some."""

    fields: tuple[str, ...]
    help: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Overrides:
    """Options for `fields` of a model that is read elsewhere, e.g. from a file: none has a default. Annotates the dict
    of the given values."""

    model: type[Parameters]
    fields: tuple[str, ...]
    help: Mapping[str, str] = field(default_factory=dict)
