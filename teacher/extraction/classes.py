"""Classes of a dataset as texts to ask about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from storage.datasets.classes import ClassDataset
from teacher.questions.wording import readable


def classes_of(name: str, class_names: Sequence[str], descriptions: Mapping[str, str]) -> ClassDataset:
    """Return the classes of dataset `name`, with the descriptions that there are."""
    texts = {each: class_text(each, descriptions.get(each)) for each in class_names}
    return ClassDataset.of(name, class_names, texts)


def class_text(name: str, description: str | None) -> str:
    """Return a class as it stands in the prompt, e.g. `"blue jay" (a bird with a crest)`."""
    quoted = f'"{readable(name) or name}"'
    return f"{quoted} ({description})" if description else quoted
