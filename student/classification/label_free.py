"""Training without labels: the classes are learned by answers about them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from storage.answers.read import Answers
from storage.datasets.base import ImageDataset
from student.classification.class_matching import class_log_odds
from student.classification.config import StudentConfig
from student.core.examples import ExamplesInvalid, chosen_questions


def learned_class_log_odds(
    config: StudentConfig, dataset: ImageDataset, about_images: Answers | None, about_classes: Answers | None
) -> NDArray[np.float32] | None:
    """Log-odds about the classes [C, Q] to the questions about images that are learned; None where there are none."""
    if about_images is None or about_classes is None:
        return None
    found = class_log_odds(about_classes, dataset.class_names, about_images.questions)
    found = found[:, chosen_questions(config, about_images.questions)]
    return None if np.isnan(found).all() else found


def require_class_answers(
    config: StudentConfig,
    dataset: ImageDataset,
    given: Sequence[Answers],
    about_each_class: NDArray[np.float32] | None,
) -> None:
    """`given` are the answers of each teacher, and `about_each_class` the log-odds [C, Q] about classes to the
    questions about images, if any.

    Raises ExamplesInvalid where no image has a label and nothing else says which classes images are of."""
    method, nothing = config.objective, f"no training image of dataset '{dataset.name}' has a label"
    if method.network_terms:
        return
    if not method.uses_class_answers:
        raise ExamplesInvalid(
            f"{nothing}, and method '{config.method}' learns the classes from labels; label some images of every class"
        )
    if about_each_class is None:
        levels = {answers.level: answers.teacher for answers in given}
        if "image" not in levels:
            raise ExamplesInvalid(f"{nothing}, and there are no answers about the images; run 'aspects extract'")
        about = f"teacher {levels['class']} gave none" if "class" in levels else "there are no answers"
        raise ExamplesInvalid(
            f"{nothing}, and {about} about the classes to the questions that were asked about images; ask a teacher "
            "('aspects extract --about classes'), import some ('aspects import-answers --format attributes'), or label "
            "some images of every class"
        )
    silent = np.flatnonzero(np.isnan(about_each_class).all(axis=1))
    if missing := [dataset.class_names[label] for label in silent.tolist()]:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ExamplesInvalid(
            f"{nothing}, and there are no answers about class {', '.join(map(repr, missing[:3]))}{more}; every class "
            "needs a label or answers about it"
        )
