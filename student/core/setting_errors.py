"""One line for a setting that pydantic rejects: its name, its value and what it may be."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from storage.errors import InputInvalid
from storage.text import as_yaml, printable

WORDS: Mapping[object, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a word",
    types.NoneType: "null",
}
BEYOND_LIMITS = {"greater_than", "greater_than_equal", "less_than", "less_than_equal"}  # pydantic's types of errors


class ConfigInvalid(InputInvalid):
    """A setting cannot be used; the message says which, why and what to do."""


def config_invalid(fields: Mapping[str, FieldInfo], values: Mapping[str, Any], error: ValidationError) -> ConfigInvalid:
    """The first of pydantic's errors about a model with `fields` that was given `values`."""
    first = error.errors()[0]
    raised = first.get("ctx", {}).get("error")
    if isinstance(raised, ConfigInvalid):
        return raised
    name = str(first["loc"][0])
    if name not in fields or name not in values:
        return ConfigInvalid(f"student setting '{printable(name, 60)}': {first['msg'].lower()}")
    field, value = fields[name], printable(as_yaml(values[name]), 80)
    if first["type"] in BEYOND_LIMITS:
        return ConfigInvalid(f"{name} is {value}; it must be {_limits(field)}")
    if choices := choices_of(field.annotation):
        return ConfigInvalid(f"{name} {value} is unknown; use one of {', '.join(map(as_yaml, choices))}")
    return ConfigInvalid(f"{name} is {value}; it must be {_describe(field.annotation)}")


def choices_of(annotation: Any) -> tuple[object, ...]:
    """The values of a Literal, with None where it is optional; empty for any other type."""
    parts = get_args(annotation) if _is_union(annotation) else (annotation,)
    found = [value for part in parts if get_origin(part) is Literal for value in get_args(part)]
    return (*found, None) if found and types.NoneType in parts else tuple(found)


def _describe(annotation: Any) -> str:
    """A description of the type."""
    if _is_union(annotation):
        return " or ".join(_describe(one) for one in get_args(annotation))
    if get_origin(annotation) is Annotated:
        return _describe(get_args(annotation)[0])
    if get_origin(annotation) is tuple:
        first, *others = get_args(annotation)
        plural = _describe(first).removeprefix("a ") + "s"
        return f"a list of {plural}" if others == [...] else f"a list of {1 + len(others)} {plural}"
    return WORDS[annotation]


def _limits(field: FieldInfo) -> str:
    """A description of the field's limits."""
    at_least, above, at_most, below = (
        next((getattr(limit, name) for limit in field.metadata if hasattr(limit, name)), None)
        for name in ("ge", "gt", "le", "lt")
    )
    if at_least is not None and at_most is not None:
        return f"between {at_least} and {at_most}"
    named = (("at least", at_least), ("above", above), ("at most", at_most), ("below", below))
    return " and ".join(f"{word} {limit}" for word, limit in named if limit is not None)


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (typing.Union, types.UnionType)
