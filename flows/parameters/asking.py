"""Parameters of flows that ask a teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from flows.option_values import split_names, words
from flows.parameters.boxes import BoxParameters, BoxQuestions
from flows.parameters.budget import BudgetParameters
from flows.parameters.classes import ClassTeacherParameters, SubjectParameters
from flows.parameters.dataset import DatasetParameters
from flows.parameters.engine import EngineParameters
from flows.parameters.report import ReportParameters
from flows.parameters.student import StudentParameters
from flows.parameters.teacher import TeacherParameters
from storage.parameters import Option, Parameters
from teacher.extraction import SHARD_SIZE

if TYPE_CHECKING:
    from storage.datasets.base import ImageDataset

MOST_IMAGES = 10_000_000  # of an audit's sample
Probe = Literal["blank", "negated"]
TASK_RUNS = 1000


class FlowParameters(Parameters):
    """All parameters of a flow: each field is a separate parameter on Prefect's pages."""


class StoreParameters(Parameters):
    """The location of the answers."""

    store: Annotated[
        str,
        # The store itself rejects an empty name, with advice.
        Field(min_length=0, description="Folder of the answers, or s3://bucket/path."),
        Option(flags=("--store", "-s")),
    ] = "store"


class AskingOptions(StoreParameters):
    """The splits to ask about, and the teacher."""

    splits: Annotated[
        list[str] | None,
        Field(
            min_length=1,
            description="Splits to ask about, separated by commas; default: train, and for classifiers unlabelled.",
        ),
        Option(read=split_names),
    ] = None
    teacher: TeacherParameters = TeacherParameters()
    engine: EngineParameters = EngineParameters()

    def splits_of(self, images: ImageDataset) -> list[str]:
        """Return the splits of `images` to ask about."""
        return ["train"] if self.splits is None else self.splits


class AskingParameters(AskingOptions, FlowParameters):
    """The images to ask about, and the teacher."""

    dataset: DatasetParameters

    def answering(self) -> TeacherParameters:
        """Return the teacher to ask. Raises TeacherMissing."""
        return self.teacher.answering(self.dataset)


class ShardOptions(AskingOptions):
    """Options for writing answers about a whole dataset."""

    shard_size: Annotated[
        int,
        Field(
            ge=1,
            le=1_000_000,
            description="Images in one Parquet file; a killed run loses the answers of at most two files per worker.",
        ),
    ] = SHARD_SIZE
    verify: Annotated[
        bool,
        Field(description="Read every image to find changes, even if its size and modification time are unchanged."),
    ] = False


class ShardParameters(ShardOptions, AskingParameters):
    """The images to ask about, the teacher, and how answers are written."""


class TaskRunParameters(Parameters):
    """How a flow run shares its work among Prefect's task runs."""

    task_runs: Annotated[
        int,
        Field(
            ge=1,
            description="With more shards than this, a task run asks about several shards, one after the other.",
        ),
    ] = TASK_RUNS


class StoredClassAnswers(Parameters):
    """The stored answers about classes to use."""

    panel: ClassVar[str | None] = None

    class_teacher: Annotated[
        str | None,
        Field(
            description="Fingerprint of the answers about classes, for methods that learn from both and for training "
            "without labels."
        ),
    ] = None


class ProbeParameters(Parameters):
    """What else the teacher is asked, to correct its answers by."""

    probes: Annotated[
        list[Probe] | None,
        Field(
            description="Also ask about a blank image (blank) and every negated question about every image (negated), "
            "for methods that use these answers, such as makd-calibrated."
        ),
        Option(read=words),
    ] = None


class ExtractionParameters(
    ShardParameters,
    SubjectParameters,
    ProbeParameters,
    BudgetParameters,
    StoredClassAnswers,
    ReportParameters,
    TaskRunParameters,
):
    """Parameters of `extract-aspects`. `questions` is a YAML file, or the name of a bundled set."""

    panel: ClassVar[str | None] = None

    questions: str
    train: bool = True
    student: StudentParameters = StudentParameters()

    def check_subject(self) -> None:
        """Raises OptionInvalid also for a budget of questions about classes."""
        super().check_subject()
        if self.about == "classes":
            self.refuse_budget("--about classes")

    def splits_of(self, images: ImageDataset) -> list[str]:
        from storage.datasets.base import training_splits

        return training_splits(images) if self.splits is None else self.splits

    def answering(self) -> TeacherParameters:
        if self.about == "images":
            return super().answering()
        return ClassTeacherParameters(**dict(self.teacher), domain=self.domain).answering(self.dataset)


class QuestionSets(BoxQuestions):
    """Question sets about whole images and about boxes: YAML files, or names of bundled sets."""

    panel: ClassVar[str | None] = None

    questions: Annotated[
        str | None,
        Field(
            description="YAML file with the question set, or a bundled set such as flowers102; for detection: about "
            "whole images."
        ),
        Option(flags=("--questions", "-q"), metavar="FILE"),
    ] = None


class DetectionParameters(ShardParameters, QuestionSets, ReportParameters, TaskRunParameters):
    """Parameters of `detect-aspects`; at least one question set is required."""

    boxes: BoxParameters = BoxParameters()
    train: bool = True
    detector: StudentParameters = StudentParameters()


class SampleParameters(Parameters):
    """The sample of an audit, and the right answers to compare with."""

    images: Annotated[
        int,
        Field(ge=1, le=MOST_IMAGES, description="Images in the sample; if the store has all answers, all are used."),
    ] = 200
    probed: Annotated[
        int,
        Field(ge=1, le=MOST_IMAGES, description="Images to ask about rephrased, negated and mirrored as well."),
    ] = 64
    truth: Annotated[
        str | None,
        Field(description="Table of right answers, Parquet or CSV: image_id, and a column for each known question."),
        Option(metavar="FILE"),
    ] = None


class AuditParameters(AskingParameters, SampleParameters):
    """Parameters of `audit-questions`. `questions` is a YAML file, or the name of a bundled set."""

    questions: str
