"""Predict the class of images without a label: match answers about each image with those about the classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from storage.answers.read import Answers
from storage.questions import QuestionSet

# Of the cosine; chosen on flowers with simulated answers about classes (docs/experiments.md).
SCALE = 5.0
LEAST_DEVIATION = 1e-6

Values = NDArray[np.floating]


def class_log_odds(answers: Answers, class_names: Sequence[str], questions: QuestionSet) -> NDArray[np.float32]:
    """Log-odds of yes [C, Q] in nats about the classes, in the order of `class_names` and `questions`; NaN where there
    is no answer.

    Questions are matched by their text, else by their key, classes by name: a class has the answers of its first
    answered row.
    """
    keys, texts = answers.questions.keys, answers.questions.texts
    column_of = {**{key: column for column, key in enumerate(keys)}, **{text: at for at, text in enumerate(texts)}}
    columns = np.array(
        [column_of.get(one.text, column_of.get(one.key, -1)) for one in questions.questions], dtype=np.int64
    )
    log_odds = answers.yes - answers.no
    answered = ~np.isnan(log_odds).all(axis=1)
    row_of: dict[str, int] = {}
    for row in np.flatnonzero(answered).tolist():
        row_of.setdefault(answers.label_names[row], row)
    found = np.full((len(class_names), len(columns)), np.nan, dtype=np.float32)
    for label, name in enumerate(class_names):
        if (place := row_of.get(name)) is not None:
            found[label, columns >= 0] = log_odds[place, columns[columns >= 0]]
    return found


def match_classes(image_log_odds: Values, class_log_odds: Values) -> NDArray[np.float32]:
    """log p(class) of N images up to a constant per row [N, C], from answers to the same questions about the images
    [N, Q] and about the classes [C, Q]. NaN in the columns of classes without answers.

    `SCALE` times the cosine of z and m, where z is p(yes) about the image less the question's mean over the images,
    divided by its standard deviation, and m is p(yes) about the class less the question's mean over the classes. The
    location is calibrated for each question, since the two teachers need not say yes equally often; means over images
    and over classes are comparable where classes are about equally frequent. m keeps its scale: a question with almost
    the same answer for all classes says nothing. It is the nearest class in a space of attributes (Lampert et al., IEEE
    TPAMI 36, 2014) without labels to fit the attributes by. Missing answers say nothing.
    """
    named = ~np.isnan(class_log_odds).all(axis=1)
    images, classes = _centred(expit(image_log_odds)), _centred(expit(class_log_odds[named]))
    deviation = np.sqrt(np.square(images).mean(axis=0))
    found = np.full((len(image_log_odds), len(class_log_odds)), np.nan, dtype=np.float32)
    found[:, named] = SCALE * _unit(images / np.maximum(deviation, LEAST_DEVIATION)) @ _unit(classes).T
    return found


def _centred(values: Values) -> NDArray[np.float64]:
    """With mean 0 in each column; 0 where a value is missing."""
    known = ~np.isnan(values)
    means = np.where(known, values, 0.0).sum(axis=0, dtype=np.float64) / np.maximum(known.sum(axis=0), 1)
    return np.where(known, values - means, 0.0)


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of length 1; those of zeros stay so."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1.0)
