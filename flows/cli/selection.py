"""Choosing questions from an audited set: first by the audit's verdicts, then by what the answers tell together."""

from __future__ import annotations

from pathlib import Path

from flows.work.auditing import read_audit
from storage.answers.read import Answers, find_answers, read_answers
from storage.answers.store import AnswersDamaged, AnswersMissing, audits_of
from storage.errors import InputInvalid
from storage.questions import QuestionSet
from teacher.questions.audit import Audit
from teacher.questions.selection import select_questions


class SelectionImpossible(InputInvalid):
    """There is nothing to choose by; the message says what is missing and what to do."""


def select_from_audit(path: Path, asked: QuestionSet, count: int, store: str) -> tuple[QuestionSet, Audit]:
    """`count` questions of the audited set in `path`, of those to keep, and of the weak ones too where these are too
    few; and the audit. Raises SelectionImpossible for a set that has not been audited, has changed since, or has too
    few good questions, and AnswersMissing where the store has not the answers that the audit saw.
    """
    audit = read_audit(path)
    if audit is None:
        raise SelectionImpossible(f"{path} has no audit yet; run 'aspects questions audit {path}' first")
    if audit.fingerprint != asked.fingerprint:
        raise SelectionImpossible(f"{path} has changed since its audit; run 'aspects questions audit {path}' again")
    columns = _fit(audit, count)
    if len(columns) < count:
        raise SelectionImpossible(
            f"only {len(columns)} of {len(asked)} questions in {path} are fit to be chosen, not {count}; "
            f"choose fewer, or write more"
        )
    answers = find_audited_answers(store, audit, asked)
    rows = [row for row, error in enumerate(answers.errors) if error is None]
    labels = [answers.label_names[row] for row in rows]
    chosen = select_questions(answers.p_yes[rows][:, columns], labels, count)
    return QuestionSet(tuple(asked.questions[columns[place]] for place in chosen)), audit


def find_audited_answers(store: str, audit: Audit, asked: QuestionSet) -> Answers:
    """All answers of the audit's teacher where the store has them, else those about its sample."""
    for place in (store, audits_of(store)):
        try:
            return read_answers(find_answers(place, audit.dataset, teacher=audit.teacher, questions=asked))
        except AnswersDamaged:
            raise
        except AnswersMissing:
            continue
    raise AnswersMissing(f"store {store} has not the answers of the audit; name its store, or run the audit again")


def _fit(audit: Audit, count: int) -> list[int]:
    """Columns of the questions that may be chosen."""
    kept = [column for column, question in enumerate(audit.questions) if question.verdict == "keep"]
    if len(kept) >= count:
        return kept
    return [column for column, question in enumerate(audit.questions) if question.verdict in ("keep", "weak")]
