"""The engines that run a teacher.

Each is a package in this folder that registers itself in its `__init__.py`. Registering imports none of an engine's
libraries; `load` does.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import teacher.engines
from storage.errors import InputInvalid

if TYPE_CHECKING:
    from teacher.engines.base import TeacherEngine, TextModel
    from teacher.engines.config import ResolvedTeacher
    from teacher.engines.options import EngineOptions
    from teacher.engines.writer import Writer


class EngineUnknown(InputInvalid):
    """There is no engine of this name; the message lists the known ones."""


class Engine(ABC):
    """An engine: how it is loaded, what it requires, and which of its settings change answers."""

    name: str  # set by `engine`
    # The model runs on a server, which is found by EngineOptions.base_url: no weights and no devices are needed here.
    served: ClassVar[bool] = False
    # The option that `EngineOptions.arguments` are given by, NAME=VALUE, and its help; None for an engine without any.
    flag: ClassVar[str | None] = None
    flag_help: ClassVar[str] = ""
    # Arguments that change only speed and memory. Any other is assumed to change answers: to miss one that does would
    # mix answers, while a wrong assumption only costs asking again.
    speed_arguments: ClassVar[frozenset[str]] = frozenset()
    # Rejected arguments, each with the option to use instead; "" if there is none.
    refused_arguments: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def load(self, teacher: ResolvedTeacher, options: EngineOptions) -> TeacherEngine:
        """Load a teacher in this process.

        Raises TeacherInvalid if it cannot be used, TeacherUnreachable if its server does not answer.
        """

    def load_text_model(self, teacher: ResolvedTeacher, options: EngineOptions) -> TextModel:
        """Load a language model in this process, to be asked about classes. Raises as `load`, and TeacherInvalid if the
        engine has none."""
        from teacher.engines.config import TeacherInvalid

        raise TeacherInvalid(f"engine {self.name} does not ask about classes; choose another --engine")

    def load_writer(self, teacher: ResolvedTeacher, options: EngineOptions, images: int) -> Writer:
        """Load a model that writes questions from up to `images` images.

        Raises TeacherInvalid, like `check_writing`, if the engine has no writer.
        """
        raise self._cannot_write()

    def check(self, options: EngineOptions) -> None:  # noqa: B027  # most engines can always be used
        """Raise TeacherInvalid if the engine cannot be used on this machine or with these options."""

    def check_writing(self) -> None:
        """Raise TeacherInvalid for an engine that does not override `load_writer`."""
        if type(self).load_writer is Engine.load_writer:
            raise self._cannot_write()

    def answer_settings(self, options: EngineOptions) -> dict[str, Any]:
        """Return the parts of `options` that change answers, with secrets hidden; empty for the defaults.

        Raises TeacherInvalid for arguments that the engine does not accept.
        """
        from teacher.engines.settings import decisive_arguments

        if self.flag is None:  # the engine has no arguments
            return {}
        decisive = decisive_arguments(self.flag, options.arguments, self.speed_arguments, self.refused_arguments)
        return {self.flag.removeprefix("--"): decisive} if decisive else {}

    def _cannot_write(self) -> Exception:
        from teacher.engines.config import TeacherInvalid

        return TeacherInvalid(
            f"engine {self.name} cannot keep an answer to a JSON schema; install vllm, or give the address of a server "
            "with --base-url"
        )


Registered = TypeVar("Registered", bound=type[Engine])
_engines: dict[str, Engine] = {}


def engine(name: str) -> Callable[[Registered], Registered]:
    """Register a subclass of Engine under the name that `--engine` takes."""

    def register(kind: Registered) -> Registered:
        _engines[name] = made = kind()
        made.name = name
        return kind

    return register


def engines() -> Mapping[str, Engine]:
    """Return all engines by name."""
    _import_engines()
    return _engines


def find_engine(name: str) -> Engine:
    """Return the engine of this name. Raises EngineUnknown."""
    found = engines()
    if name not in found:
        raise EngineUnknown(f"no engine '{name}'; choose {', '.join(found)}")
    return found[name]


@cache
def _import_engines() -> None:
    for module in pkgutil.iter_modules(teacher.engines.__path__):
        if module.ispkg:
            importlib.import_module(f"{teacher.engines.__name__}.{module.name}")
