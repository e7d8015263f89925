"""Parameters of the out-of-fold students that judge labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from flows.option_values import OptionInvalid, runs_folder
from flows.parameters.student import RecipeParameters
from storage.parameters import Option

if TYPE_CHECKING:  # torch and timm take seconds
    from student.classification.config import StudentConfig

DEFAULT_RUNS = "runs/labels"
OWN_FOLDER = "label-audit"  # in the folder of a student whose settings are taken


class FoldStudentParameters(RecipeParameters):
    """The settings of out-of-fold students, and the folder for their runs."""

    panel: ClassVar[str | None] = "Out-of-fold students"

    recipe: Annotated[str, Field(description="Settings to start from; probe: a linear probe on a frozen backbone.")] = (
        "probe"
    )
    folds: Annotated[
        int, Field(ge=2, le=1000, description="Number of students, each trained without the labels of its fold.")
    ] = 5
    runs: Annotated[
        str | None,
        Field(
            description="Folder of the students, resumed when given again; or a trained student, whose settings are "
            f"taken. Implies --student; default: {DEFAULT_RUNS}."
        ),
        Option(metavar="DIR", read=runs_folder),
    ] = None

    def config(self) -> StudentConfig:
        """Return the settings: those of the student in `runs`, or the recipe's, trained by the labels alone unless
        `settings` name a method. Raises ConfigInvalid, and RunInvalid for a damaged run."""
        from student.classification.config import StudentConfig
        from student.classification.runs import RunDescription
        from student.classification.trainable import require_trainable
        from student.core.fit import fit
        from student.core.runs import read_description
        from student.core.settings import present_accelerator

        if self._holds_run():
            if "recipe" in self.model_fields_set and self.recipe != "probe":
                raise OptionInvalid(f"--recipe is given, and {self.runs} is a student with its own settings; give one")
            begun = read_description(self._folder(), RunDescription).config.to_dict()
            own = {**begun, "accelerator": present_accelerator(), "devices": 1}
            config = StudentConfig.from_dict({**own, **self.settings})
        else:
            config = StudentConfig.from_dict(fit(self.recipe_settings(), {"method": "base", **self.settings}))
        require_trainable(config)
        return config

    def folder(self) -> Path:
        """Return the folder of the students' runs."""
        return self._folder() / OWN_FOLDER if self._holds_run() else self._folder()

    def _folder(self) -> Path:
        return Path(self.runs or DEFAULT_RUNS).expanduser()

    def _holds_run(self) -> bool:
        from student.core.files import exists
        from student.core.runs import DESCRIPTION

        return exists(self._folder() / DESCRIPTION)
