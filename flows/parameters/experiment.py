"""The file of an experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from flows.option_values import runs_folder
from flows.parameters.boxes import BoxParameters, BoxQuestions, TaskParameters
from flows.parameters.report import ReportParameters
from flows.parameters.student import STUDENTS, RecipeParameters
from flows.parameters.training import ClassAnswersParameters
from storage.parameters import Option

if TYPE_CHECKING:  # torch takes seconds
    from student.classification.grid import StudentGrid
    from student.detection.experiment import DetectorGrid


class Experiment(TaskParameters, ClassAnswersParameters, BoxQuestions, RecipeParameters, ReportParameters):
    """The contents of an experiment's file. Every combination of `grid` is trained with each of `seeds`."""

    panel: ClassVar[str | None] = None

    boxes: BoxParameters = BoxParameters()
    grid: dict[str, list[Any]] = Field(min_length=1, description="settings that vary, each with its values")
    baseline: dict[str, Any] = Field(
        default={"method": "base"}, min_length=1, description="settings of the students that others are compared with"
    )
    network: dict[str, Any] | None = Field(
        default=None, description="settings of a KD teacher, for methods that learn from one"
    )
    split: Annotated[
        str | None,
        Field(
            description="Split to evaluate on; default: test, or the dataset's equivalent. validation: if the dataset "
            "has no such split, the images that students hold out of their training images (val_fraction), for "
            "choosing settings."
        ),
        Option(panel=STUDENTS),
    ] = None
    group_by: Annotated[
        list[str] | None,
        Field(
            min_length=1,
            description="Key or text of a question; may be repeated. The accuracy of each group, class x yes or no, is "
            "scored, by the answers about the split; default: the questions that students are balanced by.",
        ),
        Option(panel=STUDENTS, metavar="QUESTION", repeatable=True),
    ] = None
    metric: Annotated[
        str | None,
        Field(description="The metric that gains are in: top1 (the default), top5, macro_accuracy or worst_group."),
        Option(panel=STUDENTS),
    ] = None
    runs: Annotated[
        str,
        Field(description="Folder of the trained students, the table and the plot."),
        Option(metavar="DIR", panel=STUDENTS, read=runs_folder),
    ]
    embed: bool = Field(default=False, description="draw the features of every cell's first student in two dimensions")

    def to_grid(self) -> StudentGrid:
        """Return the grid of classifiers. Raises ConfigInvalid for an unknown recipe, like `to_detector_grid`."""
        from student.classification.grid import StudentGrid

        return StudentGrid(
            recipe=self.recipe_settings(),
            settings=self.settings,
            axes=self.grid,
            seeds=self.seeds,
            baseline=self.baseline,
            network=self.network,
        )

    def to_detector_grid(self) -> DetectorGrid:
        from student.detection.experiment import DetectorGrid

        # Detectors have no setting `network`: it is rejected like any unknown one.
        network = {} if self.network is None else {"network": self.network}
        return DetectorGrid(
            recipe=self.detection_recipe_settings(),
            settings={**self.settings, **network},
            axes=self.grid,
            seeds=self.seeds,
            baseline=self.baseline,
        )
