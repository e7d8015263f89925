"""Parameters of flows that train on stored answers."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from flows.option_values import OptionInvalid
from flows.parameters.asking import FlowParameters, StoredClassAnswers, StoreParameters
from flows.parameters.boxes import BoxParameters, BoxQuestions
from flows.parameters.dataset import DatasetParameters
from flows.parameters.report import ReportParameters
from flows.parameters.student import StudentParameters
from storage.parameters import Option, Parameters


class TeacherChoice(Parameters):
    """The teacher whose stored answers are used; None selects the only one."""

    teacher: Annotated[
        str | None,
        Field(description="Fingerprint or TEACHER/QUESTIONS (aspects show); required if the store has several."),
        Option(flags=("--teacher", "-t")),
    ] = None


class AnswersParameters(StoreParameters, TeacherChoice):
    """The stored answers to use. Unset fields select the only available ones."""

    dataset: DatasetParameters
    questions: Annotated[
        str | None,
        Field(description="Question set, as for extract; required if the store has several."),
        Option(flags=("--questions", "-q"), metavar="FILE"),
    ] = None


def _listed(value: object) -> object:
    """Return a single name as a list: as it stands in deployments and experiments."""
    return [value] if isinstance(value, str) else value


class ClassAnswersParameters(StoredClassAnswers, AnswersParameters):
    """Answers about images, about classes, or both. Those of several teachers are blended."""

    teacher: Annotated[
        list[str] | None,
        BeforeValidator(_listed),
        Field(
            description="Fingerprint or TEACHER/QUESTIONS, where there are several (aspects show); repeatable: the "
            "teachers are blended."
        ),
        Option(flags=("--teacher", "-t"), repeatable=True),
    ] = None  # type: ignore[assignment]  # elsewhere a single one
    blend: Annotated[
        Literal["equal", "agreement"],
        Field(description="Weights of several teachers: equal, or for each question their agreement with the others."),
    ] = "equal"

    answers: Annotated[
        Literal["asked", "filled"],
        Field(description="filled: with predicted answers where a budget left pairs out; asked: the teacher's alone."),
    ] = "filled"

    def only_teacher(self) -> str | None:
        """Return the teacher of a detector. Raises OptionInvalid for several."""
        if self.teacher is not None and len(self.teacher) > 1:
            raise OptionInvalid("several --teacher are blended for --task classification alone; name one")
        return self.teacher[0] if self.teacher else None


class TrainingParameters(ClassAnswersParameters, ReportParameters, FlowParameters):
    """Parameters of `train-student`."""

    student: StudentParameters = StudentParameters()


class DetectorTrainingParameters(AnswersParameters, BoxQuestions, ReportParameters, FlowParameters):
    """Parameters of `train-detector`. `questions` is the set about whole images, `box_questions` the one about
    boxes."""

    panel: ClassVar[str | None] = None

    boxes: BoxParameters = BoxParameters()
    detector: StudentParameters = StudentParameters()
