"""Classifiers: `load_classifier` predicts with a trained one."""

from student.classification.classifier import Classifier, load_classifier

__all__ = ["Classifier", "load_classifier"]
