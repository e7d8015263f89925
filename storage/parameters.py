"""Groups of parameters: each is declared once, and the command line, the flows and what they configure read it here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """How a field is given on the command line, where that differs from `--FIELD VALUE` in its group's panel.

    `flags` are its names, the long one first; `panel` is the heading of --help that it stands under. `read` makes the
    field's value from the text that was given. A `repeatable` one makes a list. A `hidden` field is no option.

    Without `read`, a list is given as words separated by commas, and a mapping as NAME=VALUE, repeatable.
    """

    flags: tuple[str, ...] = ()
    panel: str | None = None
    metavar: str | None = None
    read: Callable[[str], Any] | None = None
    repeatable: bool = False
    hidden: bool = False


HIDDEN = Option(hidden=True)


class Parameters(BaseModel):
    """A group of parameters. An unknown name is refused, and so is an empty text: an unset variable of a script, say.

    A field's description is its help on the command line and on Prefect's pages.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, str_min_length=1, allow_inf_nan=False)

    panel: ClassVar[str | None] = None


@dataclass(frozen=True, slots=True)
class Only:
    """The fields of a group that a command has as options, where those are not all, with help that differs for some."""

    fields: tuple[str, ...]
    help: Mapping[str, str] = field(default_factory=dict)
