"""Ask what answers about images are corrected by: answers about a blank image, and to the negated questions."""

from __future__ import annotations

from flows.parameters import ExtractionParameters
from storage.answers.probes import blank_questions, negated_questions
from storage.datasets.base import ImageDataset
from storage.errors import InputInvalid
from storage.questions import QuestionSet
from teacher.questions.probes import BlankImage

Probing = tuple[ImageDataset, QuestionSet, list[str]]  # a dataset, and what is asked about its splits


class ProbesImpossible(InputInvalid):
    """Probes cannot be asked; the message says why and what to do."""


def probing_of(
    asked: ExtractionParameters, images: ImageDataset, questions: QuestionSet, splits: list[str]
) -> list[Probing]:
    """Return what `asked.probes` are, to be asked in the audits of the store. Raises ProbesImpossible for answers about
    classes, and for questions without a negation."""
    if asked.probes and asked.about == "classes":
        raise ProbesImpossible("probes are about images; leave out --probes, or --about classes")
    found: list[Probing] = []
    probes = asked.probes or []
    if "blank" in probes:
        found.append((BlankImage(dataset=images, split=splits[0]), blank_questions(questions), splits[:1]))
    if "negated" in probes:
        negated = negated_questions(questions)
        if negated is None:
            raise ProbesImpossible(
                f"no question in {asked.questions} has a negation; write some, or leave 'negated' out of --probes"
            )
        found.append((images, negated, splits))
    return found
