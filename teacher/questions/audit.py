"""Measure the quality of each question on a sample of images, with a verdict and its reason.

An audit needs no labels but the class. Whether a teacher can answer a question shows in the certainty of its answers,
in how they change when the question is reworded or negated or the image mirrored, and in its answer about a blank
image.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from storage.answers.integrity import FIELDS_KEY, check_fields, field_digests
from storage.answers.probes import NEGATED
from storage.answers.read import Answers
from storage.errors import InputInvalid
from storage.questions import AspectQuestion
from storage.statistics import effective_rank, image_information, measure_class_information
from teacher.questions.probes import BLANK, MIRRORED, REPHRASED
from teacher.questions.truth import score_answers
from teacher.questions.wording import ClassNames

Verdict = Literal["keep", "label leak", "unanswerable", "biased to yes", "biased to no", "redundant", "weak"]
# A question is rejected if it is worse than one of these. Measured on the rendered scenes: answerable questions are
# well within the limits (docs/experiments.md).
LEAST_ANSWERED = 0.5  # probability of yes and no together
LEAST_DECIDED = 0.2  # share of the answers' entropy that the image decides
MOST_CHANGED = 0.25  # mean difference in p(yes) between two wordings
MOST_ONE_SIDED = 0.95  # mean p(yes) or p(no), if the answers have no information about the class
MOST_ALIKE = 0.95  # correlation of two questions' p(yes)
LEAST_BITS = 0.01  # about the class


class AuditImpossible(InputInvalid):
    """There is nothing to measure on; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Probes:
    """A teacher's answers about S images: p(yes) [S, Q] as asked, rephrased, negated (NaN for a question without a
    negation) and about the mirrored images; and [Q] about a blank image."""

    p_yes: NDArray[np.float32]
    rephrased: NDArray[np.float32]
    negated: NDArray[np.float32]
    mirrored: NDArray[np.float32]
    blank: NDArray[np.float32]

    @classmethod
    def unasked(cls, answers: Answers) -> Probes:
        """Return probes that change nothing, for a sample that was asked in no other way. Raises AuditImpossible."""
        p_yes = answers.p_yes[[row for row, error in enumerate(answers.errors) if error is None]]
        if not len(p_yes):
            raise AuditImpossible("no image has answers; ask the teacher first, or take another sample")
        unknown = np.full_like(p_yes, np.nan)
        return cls(p_yes=p_yes, rephrased=p_yes, negated=unknown, mirrored=p_yes, blank=unknown[0])

    @classmethod
    def of(cls, plain: Answers, probing: Answers, variants: Answers) -> Probes:
        """Combine the answers of a sample, of its `probing_questions`, and of `ImageVariants`.

        Images without an answer are left out. Raises AuditImpossible if none remains.
        """
        row_of = {image_id: row for row, image_id in enumerate(plain.image_ids)}
        probed = {image_id: row for row, image_id in enumerate(probing.image_ids)}
        varied = {image_id: row for row, image_id in enumerate(variants.image_ids)}
        answered = [
            image_id
            for image_id in probing.image_ids
            if image_id in row_of
            and MIRRORED + image_id in varied
            and plain.errors[row_of[image_id]] is None
            and probing.errors[probed[image_id]] is None
            and variants.errors[varied[MIRRORED + image_id]] is None
        ]
        if not answered:
            raise AuditImpossible("no image of the sample has answers; see the column 'error', or take another sample")
        rows = [probed[image_id] for image_id in answered]
        keys = plain.questions.keys
        p_probed = dict(zip(probing.questions.keys, probing.p_yes[rows].T, strict=True))
        nothing = np.full(len(rows), np.nan, np.float32)
        return cls(
            p_yes=plain.p_yes[[row_of[image_id] for image_id in answered]],
            rephrased=np.stack([p_probed[key + REPHRASED] for key in keys], axis=1),
            negated=np.stack([p_probed.get(key + NEGATED, nothing) for key in keys], axis=1),
            mirrored=variants.p_yes[[varied[MIRRORED + image_id] for image_id in answered]],
            blank=variants.p_yes[varied[BLANK]],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionAudit:
    """The measurements of one question. Numbers are means over the images unless stated otherwise.

    `answered`: probability of yes and no together. `yes`, `variance`: mean and variance of p(yes). `decided`: how far
    the image decides the answer (`image_information`). `information`: bits about the class above chance, alone, and
    `with_partner` what it adds to the question `partner`. `redundancy`: the highest correlation of p(yes) with another
    question, `nearest`. `negation_agreement`: 1 - |p(yes) + p(yes to the negation) - 1|, None without a negation.
    `rephrasing_change`, `mirroring_change`: |difference in p(yes)|. `blank_distance`: |difference in p(yes)| to a blank
    image. `auroc`, `ece`: against the truth, None if unknown.
    """

    key: str
    text: str
    group: str | None
    verdict: Verdict
    reason: str
    answered: float
    yes: float
    variance: float
    decided: float
    information: float
    with_partner: float
    partner: str | None
    redundancy: float
    nearest: str | None
    negation_agreement: float | None
    rephrasing_change: float
    mirroring_change: float
    blank_distance: float
    auroc: float | None = None
    ece: float | None = None


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The audit of the question set with this `fingerprint` on `images` images, `probed` of them with all variants.

    `effective_rank` is the number of independent directions of the answers.
    """

    dataset: str
    teacher: str
    fingerprint: str
    questions: tuple[QuestionAudit, ...]
    images: int
    probed: int
    effective_rank: float

    def frame(self) -> pl.DataFrame:
        """Return one row per question, in the set's order, with QuestionAudit's fields as columns."""
        rows = [dataclasses.asdict(question) for question in self.questions]
        return pl.DataFrame(rows, schema=FRAME_SCHEMA)

    def to_json(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        return {**values, FIELDS_KEY: field_digests(values)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Audit:
        """The inverse of `to_json`; fields unknown to this release are ignored.

        Raises KeyError, TypeError and AttributeError for other documents, ValueError if the format has changed since.
        """
        check_fields(document)
        questions = tuple(QuestionAudit(**_fields_of(QuestionAudit, question)) for question in document["questions"])
        if wrong := [question.verdict for question in questions if question.verdict not in get_args(Verdict)]:
            raise ValueError(f"a verdict is {wrong[0]!r}")
        return cls(**{**_fields_of(cls, document), "questions": questions})

    @property
    def verdicts(self) -> dict[Verdict, int]:
        """Return the number of questions with each verdict."""
        return dict(Counter(question.verdict for question in self.questions))


def _fields_of(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    known = {field.name for field in dataclasses.fields(kind)}
    return {name: value for name, value in values.items() if name in known}


FRAME_SCHEMA: dict[str, Any] = {
    name: pl.Float64 if name not in ("key", "text", "group", "verdict", "reason", "partner", "nearest") else pl.String
    for name in QuestionAudit.__slots__
}


def audit(
    answers: Answers,
    probes: Probes,
    class_names: Sequence[str],
    truth: Mapping[str, Mapping[str, bool]] | None = None,
) -> Audit:
    """Measure every question of `answers`.

    `truth` maps question keys to the right answers by image id. Raises AuditImpossible if no image has answers.
    """
    answered = [row for row, error in enumerate(answers.errors) if error is None]
    if not answered:
        raise AuditImpossible("no image has answers; ask the teacher first, or take another sample")
    p_yes = answers.p_yes[answered]
    labels = [answers.label_names[row] for row in answered]
    measured = _measure(answers, answered, probes)
    information = measure_class_information(p_yes, labels)
    alike, nearest = _nearest(p_yes)
    keys = answers.questions.keys
    scores = [score_answers(answers, answered, key, (truth or {}).get(key)) for key in keys]
    names = ClassNames(class_names)
    informative = information.informative(LEAST_BITS)
    found: list[QuestionAudit] = []
    for column, question in enumerate(answers.questions.questions):
        several = len(keys) > 1
        facts = QuestionAudit(
            key=question.key,
            text=question.text,
            group=question.group,
            verdict="keep",
            reason="",
            information=float(information.alone[column]),
            with_partner=float(information.with_partner[column]) if several else 0.0,
            partner=keys[information.partner[column]] if several else None,
            redundancy=float(alike[column, nearest[column]]) if several else 0.0,
            nearest=keys[nearest[column]] if several else None,
            auroc=scores[column][0],
            ece=scores[column][1],
            **measured[column],
        )
        verdict, reason = _judge(facts, question, names, bool(informative[column]), _copied(found, alike[column]))
        found.append(dataclasses.replace(facts, verdict=verdict, reason=reason))
    return Audit(
        dataset=answers.dataset,
        teacher=answers.teacher,
        fingerprint=answers.questions.fingerprint,
        questions=tuple(found),
        images=len(answered),
        probed=len(probes.p_yes),
        effective_rank=effective_rank(p_yes),
    )


def _measure(answers: Answers, answered: list[int], probes: Probes) -> list[dict[str, Any]]:
    """Return the measurements of each question on its own, by field name of QuestionAudit."""
    p_yes = answers.p_yes[answered]
    agreement = 1 - np.abs(probes.p_yes + probes.negated - 1).mean(axis=0)
    columns = {
        "answered": (np.exp(answers.yes[answered]) + np.exp(answers.no[answered])).mean(axis=0),
        "yes": p_yes.mean(axis=0),
        "variance": p_yes.var(axis=0),
        "decided": image_information(p_yes),
        "negation_agreement": agreement,
        "rephrasing_change": np.abs(probes.rephrased - probes.p_yes).mean(axis=0),
        "mirroring_change": np.abs(probes.mirrored - probes.p_yes).mean(axis=0),
        "blank_distance": np.abs(probes.blank - probes.p_yes).mean(axis=0),
    }
    return [
        {name: None if np.isnan(values[column]) else float(values[column]) for name, values in columns.items()}
        for column in range(p_yes.shape[1])
    ]


def _judge(
    facts: QuestionAudit, question: AspectQuestion, names: ClassNames, informative: bool, copied: str | None
) -> tuple[Verdict, str]:
    """Return the first problem of a question, with its reason."""
    if (named := names.named_in(question.text)) is not None:
        return "label leak", f"names the class '{named}'"
    if facts.answered < LEAST_ANSWERED:
        return "unanswerable", f"yes and no have {facts.answered:.0%} of the probability"
    if max(facts.yes, 1 - facts.yes) > MOST_ONE_SIDED and not informative:
        said = "yes" if facts.yes > 0.5 else "no"
        return f"biased to {said}", f"p({said}) is {max(facts.yes, 1 - facts.yes):.1%} on average"  # type: ignore[return-value]
    if facts.decided < LEAST_DECIDED and max(facts.yes, 1 - facts.yes) <= MOST_ONE_SIDED:
        return "unanswerable", f"the image decides {facts.decided:.0%} of the answer"
    if facts.rephrasing_change > MOST_CHANGED:
        return "unanswerable", f"other words change p(yes) by {facts.rephrasing_change:.2f}"
    if facts.negation_agreement is not None and facts.negation_agreement < 1 - MOST_CHANGED:
        return "unanswerable", f"agrees with its negation by {facts.negation_agreement:.2f}"
    if copied is not None:
        return "redundant", f"answers correlate by {MOST_ALIKE:.2f} or more with '{copied}'"
    if not informative:
        return "weak", "says no more about the class than chance"
    return "keep", ""


def _copied(before: Sequence[QuestionAudit], alike: NDArray[np.float64]) -> str | None:
    """Return the key of an earlier, kept question that this one copies; `alike` [Q] are its correlations."""
    copies = [question.key for column, question in enumerate(before) if _stays(question) and alike[column] > MOST_ALIKE]
    return copies[0] if copies else None


def _stays(question: QuestionAudit) -> bool:
    return question.verdict in ("keep", "weak")


def _nearest(p_yes: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return |correlation| of every two questions' p(yes) [Q, Q], 0 on the diagonal and for constant answers, and the
    index of the most similar question [Q]."""
    spread = p_yes.std(axis=0)
    centred = np.where(spread > 1e-6, (p_yes - p_yes.mean(axis=0)) / np.where(spread > 1e-6, spread, 1.0), 0.0)
    alike = np.abs(centred.T.astype(np.float64) @ centred / len(centred))
    np.fill_diagonal(alike, 0.0)
    return alike, alike.argmax(axis=1)
