"""Options of the command line, derived from the groups of parameters that a command takes."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from flows.option_values import assignments, words
from storage.parameters import Only, Option, Overrides, Parameters


def with_models(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` an option for each field of the groups of parameters that it takes, e.g. `teacher:
    TeacherParameters`, and call it with these groups.

    An optional group is None unless one of its required fields is given. `Only` selects the fields that are options. A
    dict that is annotated with `Overrides` gets the given values.
    """
    signature = inspect.signature(command, eval_str=True)
    groups: dict[str, Group] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        if (group := Group.of(parameter.name, parameter.annotation)) is None:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
        else:
            groups[parameter.name] = group
            parameters += group.options()

    @functools.wraps(command)
    def run(**given: Any) -> None:
        made = {name: group.take(given) for name, group in groups.items()}
        command(**given, **made)

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return run


def flag_of(model: type[Parameters], field: str) -> str:
    """Return the long name of a field's option."""
    return _flags(field, _option_of(model.model_fields[field]))[0]


def help_of(model: type[Parameters], field: str) -> str | None:
    """Return the description of a field, for an argument that stands for it."""
    return model.model_fields[field].description


@dataclass(frozen=True)
class Group:
    """A group of parameters that a command takes; the Python names of its options begin with `prefix`."""

    prefix: str
    model: type[Parameters]
    optional: bool
    only: Only | None
    overrides: bool = False

    @classmethod
    def of(cls, prefix: str, annotation: Any) -> Group | None:
        """Return the group of an annotation; None for other annotations."""
        extras: tuple[Any, ...] = ()
        if get_origin(annotation) is Annotated:
            annotation, *extras = get_args(annotation)  # type: ignore[assignment]
        return cls._made(prefix, annotation, extras)

    @classmethod
    def _made(cls, prefix: str, annotation: Any, extras: Any) -> Group | None:
        if (given := next((extra for extra in extras if isinstance(extra, Overrides)), None)) is not None:
            fields = Only(given.fields, given.help)
            return cls(prefix=prefix, model=given.model, optional=False, only=fields, overrides=True)
        inner, optional = _without_none(annotation)
        if not (isinstance(inner, type) and issubclass(inner, Parameters)):
            return None
        only = next((extra for extra in extras if isinstance(extra, Only)), None)
        return cls(prefix=prefix, model=inner, optional=optional, only=only)

    def options(self) -> Iterator[inspect.Parameter]:
        for name, info in self._fields():
            if (inner := self._inner(name, info)) is not None:
                yield from inner.options()
            else:
                yield self._parameter(name, info)

    def take(self, given: dict[str, Any]) -> Parameters | dict[str, Any] | None:
        """Create the group from its options, which are removed from `given`. Raises ValidationError and
        OptionInvalid."""
        values: dict[str, Any] = {}
        for name, info in self._fields():
            if (inner := self._inner(name, info)) is not None:
                value = inner.take(given)
            else:
                value = given.pop(self._key(name))
                value = None if value is None else _read(value, info, _flags(name, _option_of(info))[0])
            if value is not None:
                values[name] = value
        if self.overrides:
            return values
        if self.optional and not any(info.is_required() and name in values for name, info in self._fields()):
            return None
        return self.model(**values)

    def _fields(self) -> Iterator[tuple[str, FieldInfo]]:
        """Yield the fields that are options: a class's own before those of its bases."""
        own = inspect.get_annotations(self.model)
        for name in sorted(self.model.model_fields, key=lambda name: name not in own):
            info = self.model.model_fields[name]
            if not _option_of(info).hidden and (self.only is None or name in self.only.fields):
                yield name, info

    def _inner(self, name: str, info: FieldInfo) -> Group | None:
        group = self._made(self._key(name), info.annotation, info.metadata)
        if group is None or not self.overrides:
            return group
        only = Only(tuple(group.model.model_fields), self.only.help if self.only else {})
        return replace(group, optional=True, only=group.only or only)

    def _key(self, name: str) -> str:
        return f"{self.prefix}_{name}"

    def _parameter(self, name: str, info: FieldInfo) -> inspect.Parameter:
        option = _option_of(info)
        help = (self.only.help if self.only else {}).get(name, info.description)
        made = typer.Option(
            *_flags(name, option),
            help=help,
            metavar=option.metavar,
            rich_help_panel=option.panel or self._panel(name),
            **_limits(info),
        )
        annotation, default = _shown(info, option)
        if info.is_required() and not self.optional and not self.overrides:
            default = inspect.Parameter.empty
        elif info.is_required() or self.overrides:
            annotation, default = annotation | None, None
        kind = inspect.Parameter.KEYWORD_ONLY
        return inspect.Parameter(self._key(name), kind, default=default, annotation=Annotated[annotation, made])

    def _panel(self, name: str) -> str | None:
        """Return the panel of the class that declares the field."""
        declaring = (cls for cls in self.model.__mro__ if name in inspect.get_annotations(cls))
        return next((cls.panel for cls in declaring if issubclass(cls, Parameters)), None)


def _option_of(info: FieldInfo) -> Option:
    return next((extra for extra in info.metadata if isinstance(extra, Option)), Option())


def _flags(name: str, option: Option) -> tuple[str, ...]:
    return option.flags or (f"--{name.replace('_', '-')}",)


def _without_none(annotation: Any) -> tuple[Any, bool]:
    """Return a type without None, and whether it allowed None."""
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [part for part in get_args(annotation) if part is not type(None)]
        return (inner[0] if len(inner) == 1 else annotation), True
    return annotation, False


def _shown(info: FieldInfo, option: Option) -> tuple[Any, Any]:
    """Return the type and the default of the option on the command line."""
    inner, optional = _without_none(info.annotation)
    default = None if info.is_required() else info.get_default(call_default_factory=True)
    if get_origin(inner) is dict or option.repeatable:
        return list[str] | None, None
    if get_origin(inner) is list:
        return (str | None if optional else str), default and ",".join(map(str, default))
    if option.read is not None and default is None:  # which takes text that the field's type does not
        return str | None, None
    return (inner | None if optional and get_origin(inner) is not Literal else info.annotation), default


def _read(value: Any, info: FieldInfo, flag: str) -> Any:
    """Convert the option's value to the field's; None if nothing was given."""
    option = _option_of(info)
    inner, _ = _without_none(info.annotation)
    if option.read is not None:
        return option.read(value)
    if get_origin(inner) is dict:
        return assignments(flag, value) or None
    if get_origin(inner) is list and not option.repeatable:
        return words(value)
    return value


def _limits(info: FieldInfo) -> Mapping[str, Any]:
    """Return the smallest and the largest number that a field takes; an exclusive limit is checked by pydantic."""
    sides = {"ge": "min", "gt": "min", "le": "max", "lt": "max"}
    return {
        side: getattr(limit, kind) for limit in info.metadata for kind, side in sides.items() if hasattr(limit, kind)
    }
