"""Classifiers: `load_classifier` predicts with a trained one."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from student.classification.classifier import Classifier, load_classifier

__all__ = ["Classifier", "load_classifier"]


def __getattr__(name: str) -> object:
    # On demand: the classifier needs torch, the page of labels and others in this package do not.
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from student.classification import classifier

    return getattr(classifier, name)
