"""Whether a setting's value is of the type that its field has: "no" is no yes or no, 2.5 no number of epochs."""

from __future__ import annotations

import functools
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

WORDS: Mapping[object, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a word",
    types.NoneType: "null",
}


@functools.cache
def kinds_of(config: Any) -> Mapping[str, Any]:
    """The types of a dataclass's fields, by their names."""
    hints = typing.get_type_hints(config)
    return {name: hint for name, hint in hints.items() if get_origin(hint) is not typing.ClassVar}


def is_kind(value: object, kind: Any) -> bool:
    """Whether `value` is of the type `kind`. A whole number is also a number; true and false are neither."""
    if get_origin(kind) in (typing.Union, types.UnionType):
        return any(is_kind(value, one) for one in get_args(kind))
    if get_origin(kind) is Literal:
        return True  # the choices are told apart by name, see TrainingConfig.CHOICES
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and _has_kinds(value, get_args(kind))
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


def describe(kind: Any) -> str:
    """The type `kind` in words."""
    if get_origin(kind) in (typing.Union, types.UnionType):
        return " or ".join(describe(one) for one in get_args(kind))
    if get_origin(kind) is Literal:
        return "one of its words"
    if get_origin(kind) is tuple:
        first, *others = get_args(kind)
        plural = describe(first).removeprefix("a ") + "s"
        return f"a list of {plural}" if others == [...] else f"a list of {1 + len(others)} {plural}"
    return WORDS[kind]


def _has_kinds(values: tuple[object, ...], kinds: tuple[Any, ...]) -> bool:
    if len(kinds) == 2 and kinds[1] is ...:
        return all(is_kind(value, kinds[0]) for value in values)
    return len(values) == len(kinds) and all(is_kind(value, kind) for value, kind in zip(values, kinds, strict=True))


def as_stored(value: object, kind: Any) -> object:
    """A value of a run folder as release 0.1.0 understood it, which took other types as well."""
    if kind is bool and not isinstance(value, bool):
        return bool(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    return value
