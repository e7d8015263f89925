"""Parameters of flows that train on stored answers."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from flows.parameters.asking import FlowParameters, StoredClassAnswers, StoreParameters
from flows.parameters.boxes import BoxParameters, BoxQuestions
from flows.parameters.dataset import DatasetParameters
from flows.parameters.report import ReportParameters
from flows.parameters.student import StudentParameters
from storage.parameters import Option


class AnswersParameters(StoreParameters):
    """The stored answers to use. Unset fields select the only available ones."""

    dataset: DatasetParameters
    questions: Annotated[
        str | None,
        Field(description="Question set, as for extract; required if the store has several."),
        Option(flags=("--questions", "-q"), metavar="FILE"),
    ] = None
    teacher: Annotated[
        str | None,
        Field(description="Fingerprint or TEACHER/QUESTIONS (aspects show); required if the store has several."),
        Option(flags=("--teacher", "-t")),
    ] = None


class ClassAnswersParameters(StoredClassAnswers, AnswersParameters):
    """Answers about images, about classes, or both."""


class TrainingParameters(ClassAnswersParameters, ReportParameters, FlowParameters):
    """Parameters of `train-student`."""

    student: StudentParameters = StudentParameters()


class DetectorTrainingParameters(AnswersParameters, BoxQuestions, ReportParameters, FlowParameters):
    """Parameters of `train-detector`. `questions` is the set about whole images, `box_questions` the one about
    boxes."""

    panel: ClassVar[str | None] = None

    boxes: BoxParameters = BoxParameters()
    detector: StudentParameters = StudentParameters()
