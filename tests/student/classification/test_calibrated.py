import dataclasses

import numpy as np
import pytest
import torch

from storage.answers.probes import ProbeAnswers, negated_questions
from storage.answers.read import Answers
from storage.datasets import FileDataset
from storage.datasets.base import select
from storage.questions import AspectQuestion, QuestionSet
from student.classification import calibrated
from student.classification.config import StudentConfig
from student.classification.examples import TeacherAnswers, digest_of, join_examples
from student.classification.targets import ImageLabels, ProbeLogOdds
from student.core.examples import ExamplesInvalid
from student.core.losses import bce_loss
from tests.student.conftest import probes_of

NAN = float("nan")
LOG_ODDS = np.array([[2.0, 0.0], [-2.0, 0.0], [2.0, 0.0], [-2.0, 0.0]])
PROBES = ProbeLogOdds(
    blank=np.array([1.0, -0.5]),
    blank_negated=np.array([0.5, NAN]),
    negated=np.array([[-1.0, NAN], [NAN, NAN], [-2.0, NAN], [2.0, NAN]]),
)


def labels(probes: ProbeLogOdds | None = PROBES) -> ImageLabels:
    trained = np.ones(4, dtype=bool)
    return ImageLabels(labels=np.array([0, 1, 0, 1]), trained=trained, classes=2, seed=0, probes=probes)


def test_log_odds_are_less_those_of_a_blank_image_and_averaged_with_the_negation() -> None:
    found = calibrated.calibrated(LOG_ODDS, labels())
    # (2 - 1 + 0.5 + 1) / 2 with a negated answer, -2 - 1 without; the other question has no negation.
    np.testing.assert_allclose(found[:, 0], [1.25, -3.0, 1.75, -2.25])
    np.testing.assert_allclose(found[:, 1], 0.5)
    assert calibrated.calibrated(LOG_ODDS, labels(None)) is LOG_ODDS


@pytest.mark.parametrize("weigh", [calibrated.certainty, calibrated.information, calibrated.consistency])
def test_weights_have_a_mean_of_one_and_prefer_what_says_something(weigh: calibrated.Weigh) -> None:
    values = np.where(np.arange(2) == 1, 0.0, LOG_ODDS)
    values[0, 1] = NAN
    probes = dataclasses.replace(PROBES, negated=np.stack([-LOG_ODDS[:, 0], np.full(4, 1.5)], axis=1))
    found = weigh(values, labels(probes))
    assert found[~np.isnan(values)].mean() == pytest.approx(1)
    assert (found[1:, 0] > found[1:, 1]).all()
    assert np.isfinite(found).all()


def test_answers_that_say_nothing_weigh_the_same() -> None:
    nothing = np.zeros((4, 2))
    assert (calibrated.certainty(nothing, labels()) == 1).all()
    assert (calibrated.information(nothing, labels()) == 1).all()
    assert (calibrated.consistency(nothing, labels(None)) == 1).all()


def test_a_weight_multiplies_the_loss_of_its_answer() -> None:
    logits, targets = torch.randn(3, 2), torch.rand(3, 2)
    single = torch.zeros(3, 2)
    single[1, 0] = 6.0
    expected = bce_loss(logits[1:2, :1], targets[1:2, :1])
    torch.testing.assert_close(bce_loss(logits, targets, single), expected)


def test_a_method_takes_the_probes_of_its_questions(
    config: StudentConfig, dataset: FileDataset, answers: Answers
) -> None:
    records = select(dataset, ("train",))
    config = config.replace(method="makd-calibrated")
    plain = TeacherAnswers(image=answers)
    with pytest.raises(ExamplesInvalid, match="aspects extract --probes blank,negated"):
        join_examples(config, dataset, records, plain)
    known = TeacherAnswers(image=answers, probes=probes_of(answers))
    (targets,) = join_examples(config, dataset, records, known).targets
    (before,) = join_examples(config.replace(method="makd"), dataset, records, plain).targets
    torch.testing.assert_close(targets.logit(), before.logit() - 1, atol=1e-3, rtol=1e-3)
    assert digest_of(dataset, records, known) != digest_of(dataset, records, plain)


def test_weights_are_those_of_the_terms_that_weigh(
    config: StudentConfig, dataset: FileDataset, answers: Answers
) -> None:
    records = select(dataset, ("train",))
    examples = join_examples(
        config.replace(method="lavid+makd-certainty"), dataset, records, TeacherAnswers(image=answers)
    )
    assert list(examples.weights) == [1]
    assert examples.weights[1].shape == examples.targets[1].shape


def test_negated_answers_are_found_by_their_text(config: StudentConfig, dataset: FileDataset, answers: Answers) -> None:
    questions = QuestionSet(
        (
            AspectQuestion(key="is_leafy", text="Has it the colour of leaves?"),
            AspectQuestion(key="is_warm", text="Is it of a warm colour?", negation="Is it cold?"),
        )
    )
    negated = negated_questions(questions)
    assert negated is not None
    probes = ProbeAnswers(
        blank=probes_of(dataclasses.replace(answers, questions=questions)).blank,
        negated=dataclasses.replace(answers, questions=negated, yes=answers.yes[:, :1], no=answers.no[:, :1]),
    )
    records = select(dataset, ("train",))
    found = calibrated.probe_log_odds(config, dataset, records, questions, probes)
    np.testing.assert_allclose(found.blank, 1.0)
    np.testing.assert_array_equal(np.isnan(found.blank_negated), [True, False])
    np.testing.assert_array_equal(np.isnan(found.negated).all(axis=0), [True, False])
    rows = [answers.image_ids.index(record.image_id) for record in records]
    np.testing.assert_allclose(found.negated[:, 1], (answers.yes - answers.no)[rows, 0])
