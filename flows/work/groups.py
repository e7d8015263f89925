"""Find the groups of images whose accuracy is reported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from storage.datasets.base import ImageDataset, select
from storage.errors import InputInvalid

if TYPE_CHECKING:  # torch takes seconds
    from storage.answers.read import Answers
    from student.classification.group_scores import ImageGroups


def image_groups(
    say: Callable[[str], None],
    images: ImageDataset,
    split: str,
    answers: Answers | None,
    asked: Sequence[str] | None,
    balanced: Sequence[str],
) -> ImageGroups | None:
    """Return the groups of `split` by the questions that are `asked` for, by default those that students were
    `balanced` by. Raises InputInvalid where there are no groups by what is asked for; reports it for the default."""
    from student.classification.group_scores import find_groups

    names = asked or balanced
    if not names:
        return None
    try:
        return find_groups(images, select(images, (split,)), names, answers)
    except InputInvalid as error:
        if asked:
            raise
        say(f"no accuracy of groups: {error}")
        return None
