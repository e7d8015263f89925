"""transformers: on any machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from teacher.engines.registry import Engine, engine

if TYPE_CHECKING:
    from teacher.engines.base import TeacherEngine, TextModel
    from teacher.engines.config import ResolvedTeacher
    from teacher.engines.options import EngineOptions


@engine("transformers")
class Transformers(Engine):
    """Runs a model in PyTorch; takes no arguments."""

    def load(self, teacher: ResolvedTeacher, options: EngineOptions) -> TeacherEngine:
        _skip_scikit_learn()
        from teacher.engines.transformers.engine import TransformersEngine

        return TransformersEngine(teacher, options)

    def load_text_model(self, teacher: ResolvedTeacher, options: EngineOptions) -> TextModel:
        _skip_scikit_learn()
        from teacher.engines.transformers.text import TransformersTextModel

        return TransformersTextModel(teacher, options)


def _skip_scikit_learn() -> None:
    """Keep transformers from importing scikit-learn, and SciPy and pandas with it, from now on.

    Only its assisted generation uses it, which no engine does; importing it took a third of an engine's start.
    """
    from transformers import utils

    # As where it is not installed.
    utils.is_sklearn_available = lambda: False  # type: ignore[attr-defined]  # it exports lazily
