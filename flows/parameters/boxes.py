"""The choice between classification and detection, questions about boxes, and the view of a box."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from storage.parameters import Option, Parameters

if TYPE_CHECKING:  # numpy and Pillow are slow to import, and not needed for --help
    from storage.datasets.detection import BoxImages, DetectionDataset

BOXES = "Detection: questions about boxes"  # heading of --help


class TaskParameters(Parameters):
    """The task of the students."""

    task: Annotated[
        Literal["classification", "detection"],
        Field(description="detection: images with boxes, of COCO, YOLO, VOC or a labelling tool."),
    ] = "classification"


class BoxParameters(Parameters):
    """The view of a box that the teacher is shown."""

    panel: ClassVar[str | None] = BOXES

    view: Annotated[
        Literal["crop", "drawn"],
        Field(description="How a box is shown to the teacher: as a crop, or drawn onto the image."),
        Option(flags=("--box-view",)),
    ] = "crop"
    margin: Annotated[
        float,
        Field(ge=0, description="Margin around a crop, as a share of the box's sides."),
        Option(flags=("--box-margin",)),
    ] = 0.25
    smallest: Annotated[
        float,
        Field(ge=0, description="Shortest side in pixels of the boxes that are asked about."),
        Option(flags=("--smallest-box",)),
    ] = 8.0

    def of(self, dataset: DetectionDataset) -> BoxImages:
        """Return the boxes of `dataset` as images to ask about. Raises DatasetInvalid if it has none."""
        from storage.datasets.detection import BoxImages, BoxView

        return BoxImages(dataset, BoxView(kind=self.view, margin=self.margin, smallest=self.smallest))


class BoxQuestions(Parameters):
    """The question set about boxes: a YAML file, or the name of a bundled set."""

    panel: ClassVar[str | None] = BOXES

    box_questions: Annotated[str | None, Field(description="Question set about each box."), Option(metavar="FILE")] = (
        None
    )
