"""Parameters of asking about classes instead of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from flows.option_values import OptionInvalid
from flows.parameters.dataset import DatasetParameters
from flows.parameters.engine import EngineParameters
from flows.parameters.teacher import TeacherMissing, TeacherParameters
from storage.parameters import Option, Parameters
from teacher.engines.config import CLASS_PROMPT, About

if TYPE_CHECKING:  # numpy and Polars take a moment, and --help does without them
    from storage.datasets.base import ImageDataset
    from storage.datasets.classes import ClassDataset

DOMAIN_HELP = "What the classes are, e.g. 'aircraft variants', where their names mean several things."
DESCRIPTIONS_HELP = "Descriptions of classes: YAML NAME: TEXT, or a table with columns label_name and description."


class SubjectParameters(Parameters):
    """What is asked about: every image, or every class by its name alone."""

    panel: ClassVar[str | None] = "Classes instead of images"

    about: Annotated[
        About, Field(description="images, or classes: a language model gets their names instead of images.")
    ] = "images"
    class_descriptions: Annotated[str | None, Field(description=DESCRIPTIONS_HELP), Option(metavar="FILE")] = None
    domain: Annotated[str | None, Field(description=DOMAIN_HELP)] = None

    def check_subject(self) -> None:
        """Raise OptionInvalid for options about classes where images are asked about."""
        if self.about == "images":
            for name in ("class_descriptions", "domain"):
                if getattr(self, name) is not None:
                    raise OptionInvalid(f"--{name.replace('_', '-')} needs --about classes; add that, or leave it out")

    def subjects(self, images: ImageDataset, splits: list[str]) -> tuple[ImageDataset, list[str]]:
        """Return what is asked about, and its splits. Raises OptionInvalid, DatasetInvalid and TableInvalid."""
        from storage.datasets.classes import CLASSES, ClassDataset

        self.check_subject()
        if self.about == "classes":
            return self.describe(images), [CLASSES]
        if isinstance(images, ClassDataset):
            raise OptionInvalid(f"'{images.name}' has class names and no images; add --about classes")
        return images, splits

    def describe(self, images: ImageDataset) -> ClassDataset:
        """Return the classes of a dataset with their descriptions. Raises DatasetInvalid and TableInvalid."""
        from storage.datasets.classes import read_descriptions
        from teacher.extraction.classes import classes_of

        names, descriptions = list(images.class_names), {}
        if self.class_descriptions is not None:
            descriptions = read_descriptions(Path(self.class_descriptions).expanduser(), names)
        return classes_of(images.name, names, descriptions)


class ClassTeacherParameters(TeacherParameters):
    """A language model that is asked about classes."""

    domain: str | None = None

    def answering(self, dataset: DatasetParameters) -> TeacherParameters:
        """Return the parameters. Raises TeacherMissing if no model is given: there is none for every kind of class."""
        if self.model is None:
            raise TeacherMissing("classes")
        return self

    def check(self, engine: EngineParameters, *, takes_images: bool = False) -> None:
        super().check(engine, takes_images=False)

    def settings(self) -> dict[str, Any]:
        return {"about": "classes", "prompt": CLASS_PROMPT, **super().settings()}
