"""What a run reads once: datasets and answers that several of its steps need."""

from __future__ import annotations

from flows.parameters import DatasetParameters
from storage.answers.read import Answers, read_answers
from storage.answers.store import AnswerDirectory
from storage.datasets.base import ImageDataset
from storage.datasets.detection import DetectionDataset


class Inputs:
    """Opens each dataset and reads each directory of answers at most once. It belongs to one command or flow run: what
    changes on the disk later is not noticed."""

    def __init__(self) -> None:
        self._images: dict[DatasetParameters, ImageDataset] = {}
        self._boxed: dict[DatasetParameters, DetectionDataset] = {}
        self._answers: dict[str, Answers] = {}

    def images(self, parameters: DatasetParameters) -> ImageDataset:
        """Raises DatasetInvalid."""
        if parameters not in self._images:
            self._images[parameters] = parameters.open()
        return self._images[parameters]

    def boxed(self, parameters: DatasetParameters) -> DetectionDataset:
        """The same images with their boxes. Raises DatasetInvalid."""
        if parameters not in self._boxed:
            self._boxed[parameters] = parameters.open_detection()
        return self._boxed[parameters]

    def answers(self, directory: AnswerDirectory) -> Answers:
        """Raises as `read_answers`."""
        if directory.path not in self._answers:
            self._answers[directory.path] = read_answers(directory)
        return self._answers[directory.path]

    def keep_answers(self, directory: AnswerDirectory, answers: Answers) -> None:
        """Those that the run has just completed, in place of what was read before."""
        self._answers[directory.path] = answers
