"""Parameters of flows: plain JSON values, from the command line and from Prefect's pages alike.

Everything with a sensible default is optional; unknown names are rejected.
"""

from flows.parameters.asking import (
    TASK_RUNS,
    AskingParameters,
    AuditParameters,
    DetectionParameters,
    ExtractionParameters,
    FlowParameters,
    ProbeParameters,
    QuestionSets,
    SampleParameters,
    ShardOptions,
    ShardParameters,
    StoredClassAnswers,
    StoreParameters,
)
from flows.parameters.boxes import BoxParameters, BoxQuestions, TaskParameters
from flows.parameters.budget import BudgetParameters
from flows.parameters.classes import ClassTeacherParameters, SubjectParameters
from flows.parameters.dataset import DatasetParameters
from flows.parameters.engine import MAX_WORKERS, EngineArguments, EngineParameters
from flows.parameters.experiment import Experiment
from flows.parameters.generation import BriefParameters
from flows.parameters.improvement import ImprovementParameters, RoundParameters
from flows.parameters.labels import FoldStudentParameters
from flows.parameters.prediction import PredictionParameters
from flows.parameters.report import ReportParameters
from flows.parameters.student import CommonSettings, RecipeParameters, StudentParameters
from flows.parameters.teacher import TeacherMissing, TeacherParameters
from flows.parameters.training import (
    AnswersParameters,
    ClassAnswersParameters,
    DetectorTrainingParameters,
    TeacherChoice,
    TrainingParameters,
)
from storage.parameters import Parameters

__all__ = [
    "MAX_WORKERS",
    "TASK_RUNS",
    "AnswersParameters",
    "AskingParameters",
    "AuditParameters",
    "BoxParameters",
    "BoxQuestions",
    "BriefParameters",
    "BudgetParameters",
    "ClassAnswersParameters",
    "ClassTeacherParameters",
    "CommonSettings",
    "DatasetParameters",
    "DetectionParameters",
    "DetectorTrainingParameters",
    "EngineArguments",
    "EngineParameters",
    "Experiment",
    "ExtractionParameters",
    "FlowParameters",
    "FoldStudentParameters",
    "ImprovementParameters",
    "Parameters",
    "PredictionParameters",
    "ProbeParameters",
    "QuestionSets",
    "RecipeParameters",
    "ReportParameters",
    "RoundParameters",
    "SampleParameters",
    "ShardOptions",
    "ShardParameters",
    "StoreParameters",
    "StoredClassAnswers",
    "StudentParameters",
    "SubjectParameters",
    "TaskParameters",
    "TeacherChoice",
    "TeacherMissing",
    "TeacherParameters",
    "TrainingParameters",
]
