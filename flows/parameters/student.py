"""Parameters of students."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from flows.option_values import MAX_SEED, OptionInvalid, runs_folder, seed_numbers
from storage.parameters import Option, Parameters
from storage.text import as_yaml

if TYPE_CHECKING:  # torch and timm take seconds to import, and extractions do not need them
    from student.classification.config import StudentConfig
    from student.detection.config import DetectorConfig

STUDENTS = "Students"  # heading of --help
UseCorrections = Literal["ignore", "use", "calibrate"]
Seed = Annotated[int, Field(strict=True, ge=0, le=MAX_SEED)]


class RecipeParameters(Parameters):
    """A recipe, the settings that differ from it, and the seeds to repeat it with."""

    panel: ClassVar[str | None] = STUDENTS

    recipe: Annotated[str, Field(description="Settings to start from: small, paper, finetune, ...")] = "small"
    settings: Annotated[
        dict[str, Any],
        Field(description="Any setting of the student, NAME=VALUE; may be repeated."),
        Option(flags=("--set",)),
    ] = Field(default_factory=dict)
    seeds: Annotated[
        list[Seed],
        Field(
            min_length=1, description="Seeds, separated by commas; each trains a student without and one with answers."
        ),
        Option(read=seed_numbers),
    ] = Field(default=[0, 1, 2])
    corrections: Annotated[
        UseCorrections,
        Field(
            description="What to do with labels and answers that people have corrected; calibrate: use them, and "
            "calibrate p(yes) by them."
        ),
    ] = "ignore"

    def recipe_settings(self) -> dict[str, Any]:
        """Return the recipe's settings on this machine's accelerator, overridden by `settings`.

        Raises ConfigInvalid for an unknown recipe.
        """
        from student.classification.recipes import recipe_settings
        from student.core.settings import present_accelerator

        self._require_no_seed()
        return {"accelerator": present_accelerator(), **recipe_settings(self.recipe)}

    def detection_recipe_settings(self) -> dict[str, Any]:
        """Like `recipe_settings`, with the recipes for detectors. Raises OptionInvalid where corrections are used."""
        from student.core.settings import present_accelerator
        from student.detection.config import detection_recipe_settings

        if self.corrections != "ignore":
            raise OptionInvalid(f"--corrections {self.corrections} is for --task classification; leave it out")
        self._require_no_seed()
        return {"accelerator": present_accelerator(), **detection_recipe_settings(self.recipe)}

    def _require_no_seed(self) -> None:
        if "seed" in self.settings:
            raise OptionInvalid(
                f"setting 'seed' is given as seeds, one or several; give --seeds {as_yaml(self.settings['seed'])}"
            )


class StudentParameters(RecipeParameters):
    """Students, and the folder for their runs."""

    runs: Annotated[
        str,
        Field(
            description="Folder of the trained students; given again, it is resumed. {answers} in it stands for the "
            "training images and answers."
        ),
        Option(metavar="DIR", read=runs_folder),
    ] = "runs"

    def config(self) -> StudentConfig:
        """Return the settings of a classifier.

        Raises ConfigInvalid, like `detector_config`, also for a backbone that the method cannot train.
        """
        from student.classification.config import StudentConfig
        from student.classification.trainable import require_trainable
        from student.core.fit import fit

        config = StudentConfig.from_dict(fit(self.recipe_settings(), self.settings))
        require_trainable(config)
        return config

    def detector_config(self) -> DetectorConfig:
        """Return the settings of a detector, with the recipes for detectors."""
        from student.core.fit import fit
        from student.detection.config import DetectorConfig

        return DetectorConfig.from_dict(fit(self.detection_recipe_settings(), self.settings))

    def changed_by(self, common: CommonSettings) -> StudentParameters:
        """Return the settings, changed by those with their own option."""
        return self.model_copy(update={"settings": {**self.settings, **common.changes()}})


class CommonSettings(Parameters):
    """Settings of students that have an option of their own besides `--set NAME=VALUE`; None leaves the recipe's."""

    panel: ClassVar[str | None] = STUDENTS

    backbone: Annotated[str | None, Field(description="Any model of timm, e.g. resnet18.")] = None
    epochs: Annotated[int | None, Field(description="Passes over the training images.")] = None
    image_size: Annotated[int | None, Field(description="Side of the student's input in pixels.")] = None
    method: Annotated[str | None, Field(description="Method of learning from the answers: recommended, makd, ...")] = (
        None
    )
    balance: Annotated[
        list[str] | None,
        Field(
            description="Key or text of a question about the training images, e.g. 'Is the background water?'; may be "
            "repeated. The labels' loss balances the groups, class x answer."
        ),
        Option(metavar="QUESTION", repeatable=True),
    ] = None
    alpha: Annotated[float | None, Field(description="Weight of the answers in the loss; default: the method's.")] = (
        None
    )
    labels: Annotated[
        Literal["all", "none"],
        Field(description="none: learn the classes from answers about them and about images; no label is used."),
    ] = "all"

    def changes(self) -> dict[str, Any]:
        """Return the settings that were given."""
        given = self.model_dump(exclude_none=True, exclude={"labels"})
        return given if self.labels == "all" else {**given, "labels_per_class": 0}
