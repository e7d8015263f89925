"""Parameters of `improve-questions`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from flows.option_values import OptionInvalid
from flows.parameters.asking import AskingParameters
from flows.parameters.engine import EngineParameters
from flows.parameters.student import StudentParameters
from flows.parameters.teacher import TeacherParameters
from storage.parameters import Option, Parameters

if TYPE_CHECKING:  # Polars and pyarrow are slow to import, and not needed for --help
    from storage.questions import QuestionSet

MOST = 10_000_000  # images and pairs


class RoundParameters(Parameters):
    """Where candidate questions come from, and how much is asked."""

    panel: ClassVar[str | None] = "Rounds"

    pool: Annotated[
        str | None,
        Field(description="Question set with the candidates; without one a language model writes them."),
        Option(metavar="FILE"),
    ] = None
    writer: Annotated[
        str | None,
        Field(description="Language model that writes candidates; default: the teacher."),
        Option(metavar="MODEL"),
    ] = None
    writer_url: Annotated[
        str | None, Field(description="OpenAI-compatible server of the writing model."), Option(metavar="URL")
    ] = None
    candidates: Annotated[int, Field(ge=1, le=1000, description="Questions to write in each round.")] = 20
    count: Annotated[
        int | None, Field(ge=1, le=10_000, description="Questions of the improved set; default: as many as FILE has.")
    ] = None
    sample: Annotated[
        int, Field(ge=3, le=MOST, description="Images that candidates are compared on; each round adds as many again.")
    ] = 72
    rounds: Annotated[int, Field(ge=1, le=100, description="Largest number of rounds.")] = 3
    budget_pairs: Annotated[
        int | None,
        Field(ge=1, description="Largest number of pairs of image and question to ask; default: no limit."),
    ] = None
    folds: Annotated[
        int, Field(ge=2, le=100, description="Parts of the training images, each judged by a student of the others.")
    ] = 2
    confused_pairs: Annotated[
        int, Field(ge=1, le=1000, description="Pairs of classes, the most confused ones, that a round is about.")
    ] = 6

    def check_source(self) -> None:
        """Raise OptionInvalid where both a pool and a writing model are given."""
        if self.pool is not None and (self.writer is not None or self.writer_url is not None):
            raise OptionInvalid("candidates come from --pool or from --writer; leave one of them out")

    def pool_questions(self) -> QuestionSet | None:
        """Return the questions of the pool, if there is one. Raises QuestionsInvalid."""
        from storage.questions import load_questions

        return None if self.pool is None else load_questions(Path(self.pool).expanduser())


class ImprovementParameters(AskingParameters, RoundParameters):
    """Parameters of `improve-questions`. `questions` is a YAML file, or the name of a bundled set; the improved set is
    written to `output`, by default `questions.yaml` in the folder of the students."""

    panel: ClassVar[str | None] = None

    questions: str
    output: str | None = None
    student: StudentParameters = StudentParameters()

    def check_source(self) -> None:
        """Raise OptionInvalid also for other splits than the training images."""
        super().check_source()
        if self.splits not in (None, ["train"]):
            raise OptionInvalid("questions are improved on split 'train'; leave out splits")

    def writing(self) -> tuple[TeacherParameters, EngineParameters]:
        """Return the model that writes candidates, and its engine."""
        model = TeacherParameters(model=self.writer or self.answering().model)
        if self.writer_url is not None:
            return model, EngineParameters(base_url=self.writer_url)
        served = self.writer is not None and self.engine.base_url is not None
        return model, EngineParameters() if served else self.engine

    def output_path(self) -> Path:
        return Path(self.output or f"{self.student.runs}/questions.yaml").expanduser()
