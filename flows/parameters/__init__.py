"""What flows are started with: plain JSON values, from the command line and from Prefect's pages alike.

Everything is optional that has a sensible default; an unknown name is refused.
"""

from flows.parameters.asking import (
    AskingParameters,
    AuditParameters,
    DetectionParameters,
    ExtractionParameters,
    FlowParameters,
    SampleParameters,
    ShardParameters,
    StoreParameters,
)
from flows.parameters.dataset import BoxParameters, DatasetParameters
from flows.parameters.student import (
    SMALL_STUDENT,
    CommonSettings,
    RecipeParameters,
    Seed,
    StudentParameters,
)
from flows.parameters.teacher import (
    MAX_WORKERS,
    EngineArguments,
    EngineParameters,
    TeacherMissing,
    TeacherParameters,
)
from storage.parameters import Parameters

CROPPED_BOXES = BoxParameters()

__all__ = [
    "CROPPED_BOXES",
    "MAX_WORKERS",
    "SMALL_STUDENT",
    "AskingParameters",
    "AuditParameters",
    "BoxParameters",
    "CommonSettings",
    "DatasetParameters",
    "DetectionParameters",
    "EngineArguments",
    "EngineParameters",
    "ExtractionParameters",
    "FlowParameters",
    "Parameters",
    "RecipeParameters",
    "SampleParameters",
    "Seed",
    "ShardParameters",
    "StoreParameters",
    "StudentParameters",
    "TeacherMissing",
    "TeacherParameters",
]
