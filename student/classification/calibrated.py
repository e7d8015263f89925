"""Calibrated targets and weights of answers: how sure the teacher is, and whether it looks at the image.

Functions take log-odds of yes [N, Q] in nats and labels of the N images, like those of targets.py. Weights [N, Q] have
a mean of 1 over the answers about training images, and are 1 where there is nothing to weigh by.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor

from storage.answers.probes import ProbeAnswers
from storage.answers.read import Answers
from storage.datasets.base import ImageDataset, ImageRecord
from storage.questions import QuestionSet
from storage.statistics import class_information
from student.classification.targets import ImageLabels, ProbeLogOdds, Values
from student.classification.terms import AspectTerm, ClassTerm, Level
from student.core.examples import ExamplesInvalid, chosen_questions, log_odds_of

if TYPE_CHECKING:  # the config knows the methods, which are made of the functions here
    from student.classification.config import StudentConfig

Weigh = Callable[[Values, ImageLabels], Values]


def calibrated(log_odds: Values, images: ImageLabels) -> Values:
    """Return the log-odds less those about a blank image, which are what the question alone suggests to the teacher
    (contextual calibration, Zhao et al., ICML 2021); averaged with minus the same of the negated question, where it was
    asked. Unchanged where there are no probes."""
    if images.probes is None:
        return log_odds
    shifted = log_odds - np.nan_to_num(images.probes.blank)
    opposed = np.nan_to_num(images.probes.blank_negated) - images.probes.negated
    found: Values = np.where(np.isnan(opposed), shifted, (shifted + opposed) / 2)
    return found


def certainty(log_odds: Values, images: ImageLabels) -> Values:
    """Weigh each answer by |2 p(yes) - 1|: 0 for one that is neither yes nor no."""
    return _normalized(np.abs(2 * expit(log_odds) - 1), images)


def information(log_odds: Values, images: ImageLabels) -> Values:
    """Weigh each question by the mutual information of its answers about training images and the class."""
    weights = class_information(expit(log_odds[images.trained]), images.labels[images.trained].astype(str).tolist())
    return _normalized(np.where(np.isnan(log_odds), np.nan, weights), images)


def consistency(log_odds: Values, images: ImageLabels) -> Values:
    """Weigh each question by its agreement with its negation over all images, 1 - 2 mean |p(yes) + p(yes to the
    negation) - 1| and at least 0; a question whose negation was not asked by the mean of the others."""
    if images.probes is None:
        return np.ones_like(log_odds)
    gaps = np.abs(expit(log_odds) + expit(images.probes.negated) - 1)
    counts = (~np.isnan(gaps)).sum(axis=0)
    agreement = np.where(counts > 0, 1 - 2 * np.nansum(gaps, axis=0) / np.maximum(counts, 1), np.nan).clip(0)
    known = agreement[~np.isnan(agreement)]
    weights = np.where(np.isnan(agreement), known.mean() if len(known) else 1.0, agreement)
    return _normalized(np.where(np.isnan(log_odds), np.nan, weights), images)


def _normalized(weights: Values, images: ImageLabels) -> Values:
    trained = weights[images.trained]
    answered = ~np.isnan(trained)
    mean = float(trained[answered].mean()) if answered.any() else 0.0
    if mean == 0:
        return np.ones_like(weights)
    return np.nan_to_num(weights / mean, nan=1.0)


def answer_weights(
    terms: Sequence[AspectTerm | ClassTerm], log_odds: Callable[[Level], Values], images: ImageLabels
) -> dict[int, Tensor]:
    """Return the weights [N, Q] of the answers, by the number of the term, for terms that weigh them."""
    return {
        number: torch.from_numpy(term.weigh(log_odds(term.level), images).astype(np.float32))
        for number, term in enumerate(terms)
        if isinstance(term, AspectTerm) and term.weigh is not None
    }


def probe_log_odds(
    config: StudentConfig,
    dataset: ImageDataset,
    records: Sequence[ImageRecord],
    asked: QuestionSet,
    probes: ProbeAnswers | None,
) -> ProbeLogOdds:
    """Return the log-odds of the probes of the `asked` questions that the config learns. Raises ExamplesInvalid where
    nothing was asked about a blank image."""
    if probes is None or probes.blank is None:
        raise ExamplesInvalid(
            "the method uses answers about a blank image, and there are none; ask for them by "
            "'aspects extract --probes blank,negated', or take another method"
        )
    questions = [asked.questions[column] for column in chosen_questions(config, asked)]
    texts, negations = [question.text for question in questions], [question.negation for question in questions]
    blank = _by_text(probes.blank, (probes.blank.yes - probes.blank.no)[:1])
    negated = np.full((len(records), len(questions)), np.nan, dtype=np.float32)
    if probes.negated is not None:
        about = _by_text(probes.negated, log_odds_of(dataset, records, probes.negated))
        negated = _chosen(about, negations, len(records))
    return ProbeLogOdds(
        blank=_chosen(blank, texts, 1)[0], blank_negated=_chosen(blank, negations, 1)[0], negated=negated
    )


def _by_text(answers: Answers, log_odds: Values) -> dict[str, Values]:
    return {text.strip().casefold(): log_odds[:, column] for column, text in enumerate(answers.questions.texts)}


def _chosen(by_text: dict[str, Values], texts: Sequence[str | None], rows: int) -> Values:
    """Return the columns [rows, Q] of these texts, NaN for those that were not asked."""
    unasked = np.full(rows, np.nan, dtype=np.float32)
    columns = [by_text.get(text.strip().casefold(), unasked) if text is not None else unasked for text in texts]
    return np.stack(columns, axis=1)
