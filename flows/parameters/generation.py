"""Parameters of question generation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, PositiveInt

from flows.option_values import MAX_SEED, OptionInvalid
from flows.parameters.classes import DOMAIN_HELP
from flows.parameters.dataset import DatasetParameters
from storage.parameters import Only, Option, Parameters
from teacher.engines.config import About
from teacher.questions import ROUNDS, SHARES

if TYPE_CHECKING:  # numpy and Pillow are slow to import, and not needed for --help
    from teacher.questions.forms import Form
    from teacher.questions.generation import Brief

PROMPTED = "Prompt"  # heading of --help
CLASSES_HELP = "Dataset whose classes are asked about, as for extract."


class BriefParameters(Parameters):
    """A request for questions about the classes of a dataset, or those listed in a text file."""

    dataset: Annotated[
        DatasetParameters | None, Only(("source", "root", "download"), help={"source": CLASSES_HELP})
    ] = None
    classes: Annotated[
        str | None,
        Field(description="Text file with one class name per line, instead of a dataset."),
        Option(metavar="FILE"),
    ] = None
    about: Annotated[
        About, Field(description="What the questions are asked about: images, or classes by their names.")
    ] = "images"
    options: Annotated[
        int | None,
        Field(ge=2, le=9, description="Multiple-choice questions with so many options."),
    ] = None
    domain: Annotated[str | None, Field(description=DOMAIN_HELP)] = None
    count: Annotated[int, Field(ge=1, le=10_000, description="Number of questions.")] = sum(SHARES.values())
    shares: Annotated[
        dict[str, PositiveInt],
        Field(
            min_length=1,
            description="Share of a group, NAME=NUMBER; repeatable. Default: visual=30, categorical=12, "
            "environmental=8.",
        ),
        Option(flags=("--group",)),
    ] = Field(default=SHARES)
    photos: Annotated[
        list[str],
        Field(description="Image to show to the model; repeatable."),
        Option(flags=("--photo",), metavar="FILE", panel=PROMPTED, repeatable=True),
    ] = Field(default_factory=list)
    prompt: Annotated[
        str | None, Field(description="File with a prompt of your own."), Option(metavar="FILE", panel=PROMPTED)
    ] = None
    rounds: Annotated[
        int, Field(ge=1, le=1000, description="Largest number of rounds of requests."), Option(panel=PROMPTED)
    ] = ROUNDS
    max_tokens: Annotated[
        int | None,
        Field(
            ge=1,
            le=1_000_000,
            description="Largest length of a reply; default: 150 for each question, 220 with options.",
        ),
        Option(panel=PROMPTED),
    ] = None
    seed: Annotated[
        int, Field(ge=0, le=MAX_SEED, description="Random seed of the model's sampling."), Option(panel=PROMPTED)
    ] = 0

    def load(self, max_pixels: int | None = None) -> Brief:
        """Read the files named here, with images scaled down to `max_pixels`.

        Raises BriefInvalid, PromptInvalid and DatasetInvalid.
        """
        from teacher.questions.brief import read_image
        from teacher.questions.generation import Brief, load_prompt, share_out

        form = self.form()
        return Brief(
            classes=self.class_names(),
            wanted=share_out(self.count, self.shares),
            prompt=load_prompt(Path(self.prompt).expanduser() if self.prompt else None, form),
            images=[read_image(Path(file).expanduser(), max_pixels) for file in self.photos],
            rounds=self.rounds,
            length=self.max_tokens,
            seed=self.seed,
            form=form,
            domain=self.domain,
        )

    def form(self) -> Form:
        """Return the form of the questions. Raises OptionInvalid for multiple-choice questions about images."""
        from teacher.questions.forms import YES_NO, YES_NO_ABOUT_CLASSES, ChoiceForm

        if self.options is None:
            return YES_NO if self.about == "images" else YES_NO_ABOUT_CLASSES
        if self.about == "images":
            raise OptionInvalid("--options needs --about classes: images are asked yes/no questions; add that")
        return ChoiceForm(options=self.options)

    def class_names(self) -> list[str]:
        """Return the class names.

        Raises BriefInvalid, also unless there is either a dataset or a file of names, and DatasetInvalid.
        """
        from storage.datasets.classes import read_class_names
        from teacher.questions.brief import BriefInvalid

        if self.dataset is not None and self.classes is None:
            return list(self.dataset.open().class_names)
        if self.dataset is None and self.classes is not None:
            return read_class_names(Path(self.classes).expanduser())
        raise BriefInvalid("questions are about classes; give a dataset (-d) or a file of their names (--classes)")
