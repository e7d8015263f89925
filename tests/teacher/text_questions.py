"""Classes and questions for language models, and engines that ask them in other processes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from storage.questions import Choice, Option
from teacher.engines.classes import ClassEngine
from teacher.engines.config import CLASS_PROMPT, ResolvedTeacher, TeacherConfig, resolve
from teacher.engines.options import EngineOptions

CLASSES = ['"jay"', '"707-320" (a narrow-body aircraft with four engines)', '"Rotkehlchen"']
CHOICES = (
    Choice("What colour is most of it?", ("Blue", "Red", "Of several colours, none of which covers most of it")),
    Choice("Where is it?", ("Air", "Water")),
    Choice("Which?", tuple("zyxwvutsr")),
)
QUESTIONS: Sequence[str | Option] = [
    "Can it fly?",
    *(aspect.asked for number, choice in enumerate(CHOICES) for aspect in choice.aspects(f"q{number}")),
    "Does it have more than two legs, wheels or other things that it stands on?",
]
# Random weights answer anything.
ANY_ANSWER = EngineOptions(min_answer_mass=0)


def text_teacher(folder: Path, words: tuple[str, str] = ("Y", "N")) -> ResolvedTeacher:
    """A model about classes in float32. The words are tokens of `text_model.py`, which has single characters only."""
    yes, no = words
    config = TeacherConfig(
        model=str(folder), dtype="float32", about="classes", prompt=CLASS_PROMPT, yes_words=(yes,), no_words=(no,)
    )
    return resolve(config)


def answers_of(engine: ClassEngine, classes: Sequence[str], questions: Sequence[str | Option]) -> np.ndarray:
    """yes and no [2, C, Q]."""
    return np.stack(engine.answer(classes, questions))
