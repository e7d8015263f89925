"""What flows are started with: plain JSON values, from the command line and from Prefect's pages alike.

Everything is optional that has a sensible default; an unknown name is refused.
"""

from flows.parameters.dataset import BoxParameters, DatasetParameters
from flows.parameters.student import (
    SMALL_STUDENT,
    CommonSettings,
    RecipeParameters,
    Seed,
    StudentParameters,
)
from flows.parameters.teacher import MAX_WORKERS, EngineParameters, TeacherMissing, TeacherParameters
from storage.parameters import Parameters

CROPPED_BOXES = BoxParameters()

__all__ = [
    "CROPPED_BOXES",
    "MAX_WORKERS",
    "SMALL_STUDENT",
    "BoxParameters",
    "CommonSettings",
    "DatasetParameters",
    "EngineParameters",
    "Parameters",
    "RecipeParameters",
    "Seed",
    "StudentParameters",
    "TeacherMissing",
    "TeacherParameters",
]
