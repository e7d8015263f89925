"""Datasets and answers that several steps of a run need, each read once."""

from __future__ import annotations

from flows.parameters import DatasetParameters
from storage.answers.predicted import fill_answers
from storage.answers.read import Answers, read_answers
from storage.answers.store import AnswerDirectory
from storage.datasets.base import ImageDataset
from storage.datasets.detection import DetectionDataset


class Inputs:
    """Opens each dataset and reads each directory of answers at most once.

    For one command or flow run: later changes on disk are not noticed.
    """

    def __init__(self) -> None:
        self._images: dict[DatasetParameters, ImageDataset] = {}
        self._boxed: dict[DatasetParameters, DetectionDataset] = {}
        self._answers: dict[str, Answers] = {}
        self._filled: dict[str, Answers] = {}

    def images(self, parameters: DatasetParameters) -> ImageDataset:
        """Open the images. Raises DatasetInvalid."""
        if parameters not in self._images:
            self._images[parameters] = parameters.open()
        return self._images[parameters]

    def boxed(self, parameters: DatasetParameters) -> DetectionDataset:
        """Open the same images with their boxes. Raises DatasetInvalid."""
        if parameters not in self._boxed:
            self._boxed[parameters] = parameters.open_detection()
        return self._boxed[parameters]

    def answers(self, directory: AnswerDirectory) -> Answers:
        """Read answers. Raises the same errors as `read_answers`."""
        if directory.path not in self._answers:
            self._answers[directory.path] = read_answers(directory)
        return self._answers[directory.path]

    def filled_answers(self, directory: AnswerDirectory) -> Answers:
        """Read answers, and predicted ones where pairs were not asked. Raises the same errors as `fill_answers`."""
        if directory.path not in self._filled:
            self._filled[directory.path] = fill_answers(directory, self.answers(directory))
        return self._filled[directory.path]

    def keep_answers(self, directory: AnswerDirectory, answers: Answers) -> None:
        """Replace cached answers by those that the run has just completed."""
        self._answers[directory.path] = answers
        self._filled.pop(directory.path, None)
