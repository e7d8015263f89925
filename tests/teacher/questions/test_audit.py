"""Verdicts on answers made up so that each fault occurs; tests/flows/test_auditing.py asks a teacher."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from storage.answers.probes import NEGATED
from storage.answers.read import Answers
from storage.questions import AspectQuestion, QuestionSet
from teacher.questions.audit import Audit, AuditImpossible, Probes, QuestionAudit, audit
from teacher.questions.probes import BLANK, MIRRORED, REPHRASED

IMAGES = 120
CLASSES = ("oak", "elm")
LABELS = [CLASSES[number % 2] for number in range(IMAGES)]


def answers_of(p_yes: dict[str, np.ndarray], *, mass: float = 1.0, ids: list[str] | None = None) -> Answers:
    """As a teacher would give them that says yes or no with probability `mass`."""
    values = np.stack(list(p_yes.values()), axis=1)
    count = len(values)
    return Answers(
        dataset="trees",
        teacher="abc",
        questions=QuestionSet(tuple(AspectQuestion(key=key, text=f"Has it {key}?") for key in p_yes)),
        image_ids=tuple(ids or [f"{number}.png" for number in range(count)]),
        image_sha256=(None,) * count,
        splits=("train",) * count,
        label_names=tuple((LABELS * 2)[:count]),
        errors=(None,) * count,
        yes=np.log(mass * values.clip(1e-6, 1 - 1e-6)).astype(np.float32),
        no=np.log(mass * (1 - values).clip(1e-6, 1 - 1e-6)).astype(np.float32),
    )


def probes_of(answers: Answers, **changed: Any) -> Probes:
    """A teacher that is not to be confused, but for what is changed."""
    p_yes = answers.p_yes
    steady = {
        "p_yes": p_yes,
        "rephrased": p_yes,
        "negated": np.full_like(p_yes, np.nan),
        "mirrored": p_yes,
        "blank": np.zeros(p_yes.shape[1], np.float32),
    }
    return Probes(**{**steady, **changed})


def coins(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, IMAGES).astype(float)


BY_CLASS = np.array([float(label == "oak") for label in LABELS])
MOSTLY = np.where(np.arange(IMAGES) < 90, BY_CLASS, 1 - BY_CLASS)


def verdict_on(values: np.ndarray, *, mass: float = 1.0, **changed: Any) -> QuestionAudit:
    answers = answers_of({"lobes": MOSTLY, "it": values}, mass=mass)
    changed = {name: np.stack([answers.p_yes[:, 0], value], axis=1) for name, value in changed.items()}
    return audit(answers, probes_of(answers, **changed), CLASSES).questions[1]


def test_a_good_question_is_kept() -> None:
    found = verdict_on(np.roll(MOSTLY, 60) * 0.98 + 0.01)
    assert (found.verdict, found.reason) == ("keep", "")
    assert found.information > 0.1


@pytest.mark.parametrize(
    ("values", "changed", "verdict", "reason"),
    [
        (coins(1), {}, "weak", "says no more about the class than chance"),
        (np.full(IMAGES, 0.999), {}, "biased to yes", "p(yes) is 99.9% on average"),
        (np.full(IMAGES, 0.001), {}, "biased to no", "p(no) is 99.9% on average"),
        (MOSTLY, {}, "redundant", "with 'lobes'"),
        (1 - MOSTLY, {}, "redundant", "with 'lobes'"),
        (0.4 + 0.2 * BY_CLASS, {}, "unanswerable", "the image decides 3% of the answer"),
        (BY_CLASS, {"mass": 0.3}, "unanswerable", "yes and no have 30% of the probability"),
        (BY_CLASS, {"rephrased": coins(2)}, "unanswerable", "other words change p(yes) by 0."),
        (BY_CLASS, {"negated": BY_CLASS}, "unanswerable", "agrees with its negation by 0.00"),
    ],
)  # fmt: skip
def test_each_fault_has_its_verdict(values: np.ndarray, changed: dict[str, Any], verdict: str, reason: str) -> None:
    found = verdict_on(values, **changed)
    assert found.verdict == verdict
    assert reason in found.reason


def test_a_rare_answer_that_marks_a_class_is_no_bias() -> None:
    rare = (np.arange(IMAGES) < 5).astype(float)
    answers = answers_of({"lobes": MOSTLY, "it": rare})
    names = tuple(f"tree {number // 5}" for number in range(IMAGES))
    answers = Answers(**{**vars(answers), "label_names": names})
    assert audit(answers, probes_of(answers), CLASSES).questions[1].verdict == "keep"


def test_a_question_that_names_a_class_is_a_leak() -> None:
    answers = answers_of({"oak_leaves": BY_CLASS, "lobes": MOSTLY})
    first, second = audit(answers, probes_of(answers), CLASSES).questions
    assert (first.verdict, first.reason) == ("label leak", "names the class 'oak'")
    assert second.verdict == "keep"  # not a copy of a question that goes


def test_measures_are_what_they_say() -> None:
    answers = answers_of({"lobes": MOSTLY, "bark": 0.25 * np.ones(IMAGES)})
    steps = np.linspace(0, 1, IMAGES)
    negated = np.stack([1 - MOSTLY, np.full(IMAGES, 0.85)], axis=1)
    probes = probes_of(
        answers,
        negated=negated,
        mirrored=answers.p_yes + np.array([0.0, 0.1]),
        rephrased=np.stack([answers.p_yes[:, 0], answers.p_yes[:, 1] + 0.2 * steps], axis=1),
        blank=np.array([0.5, 0.05]),
    )
    truth = {"lobes": {f"{number}.png": bool(BY_CLASS[number]) for number in range(IMAGES)}}
    found = audit(answers, probes, CLASSES, truth)
    lobes, bark = found.questions
    assert (lobes.yes, lobes.variance, lobes.decided) == pytest.approx((MOSTLY.mean(), 0.25, 1), abs=1e-2)
    assert (lobes.negation_agreement, bark.negation_agreement) == pytest.approx((1, 0.9), abs=1e-5)
    assert (bark.mirroring_change, bark.rephrasing_change, bark.blank_distance) == pytest.approx(
        (0.1, 0.1, 0.2), abs=1e-5
    )
    assert (bark.decided, bark.redundancy) == pytest.approx((0, 0), abs=1e-6)
    # Three in four are right, and it is sure of all of them.
    assert (lobes.auroc, lobes.ece) == pytest.approx((0.75, 0.25), abs=1e-3)
    assert (bark.auroc, bark.ece) == (None, None)
    assert (found.images, found.probed) == (IMAGES, IMAGES)
    assert found.effective_rank == pytest.approx(1.0, abs=1e-6)
    assert Audit.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert found.frame().columns == list(QuestionAudit.__slots__)


def test_probes_are_joined_by_image_and_those_without_answers_left_out() -> None:
    plain = answers_of({"lobes": np.array([0.1, 0.2, 0.3, 0.4])})
    ids = ["2.png", "0.png", "3.png"]
    probing = answers_of({f"lobes{REPHRASED}": np.array([0.31, 0.11, 0.41]), f"lobes{NEGATED}": np.ones(3)}, ids=ids)
    varied = answers_of({"lobes": np.array([0.32, 0.12, 0.42, 0.9])}, ids=[*(MIRRORED + name for name in ids), BLANK])
    broken = Answers(**{**vars(varied), "errors": (None, None, "damaged", None)})
    probes = Probes.of(plain, probing, broken)
    for name, expected in (("p_yes", [0.3, 0.1]), ("rephrased", [0.31, 0.11]), ("mirrored", [0.32, 0.12])):
        np.testing.assert_allclose(getattr(probes, name)[:, 0], expected, atol=1e-5)
    assert probes.blank == pytest.approx([0.9], abs=1e-5)
    with pytest.raises(AuditImpossible, match="no image of the sample has answers"):
        Probes.of(plain, probing, Answers(**{**vars(varied), "errors": ("damaged",) * 4}))


def test_an_audit_is_read_as_it_was_written() -> None:
    answers = answers_of({"leaves": BY_CLASS, "bark": MOSTLY})
    found = audit(answers, probes_of(answers), CLASSES)
    document = json.loads(json.dumps(found.to_json()))
    assert Audit.from_json(document) == found
    document["questions"][0]["later"] = document["later"] = 1
    assert Audit.from_json(document) == found
    document["questions"][0]["information"] += 0.25
    with pytest.raises(ValueError, match=r"questions\[\]\.information is not what was written"):
        Audit.from_json(document)
    del document["field_digests"]  # as an earlier release wrote it
    assert Audit.from_json(document).questions[0].information == found.questions[0].information + 0.25
    document["questions"][0]["verdict"] = "keeq"
    with pytest.raises(ValueError, match="a verdict is 'keeq'"):
        Audit.from_json(document)
