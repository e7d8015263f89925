"""transformers: on any machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from teacher.engines.registry import Engine, engine

if TYPE_CHECKING:
    from teacher.engines.base import TeacherEngine
    from teacher.engines.config import ResolvedTeacher
    from teacher.engines.options import EngineOptions


@engine("transformers")
class Transformers(Engine):
    """Runs a model in PyTorch; takes no arguments."""

    def load(self, teacher: ResolvedTeacher, options: EngineOptions) -> TeacherEngine:
        from teacher.engines.transformers.engine import TransformersEngine

        return TransformersEngine(teacher, options)
