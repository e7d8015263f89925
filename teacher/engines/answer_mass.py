"""Check that a teacher answers yes or no at all, by the probability of both together in its first batch."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from storage.text import printable
from teacher.engines.base import EngineUsage
from teacher.engines.config import TeacherConfig, TeacherInvalid
from teacher.engines.options import EngineOptions

NAMED_TOKENS = 3  # in a message
REMEDY = (
    "set --yes-words and --no-words, or --prompt, to what it says, or switch off its thinking; --min-answer-mass 0 "
    "accepts its answers"
)


class AnswerMass:
    """Sum the probability of yes and no together, and reject a teacher for which it is negligible.

    The check is made once, on the mean over the first batch: a single question may have any answer if it is not a
    yes/no question, but a teacher that thinks first, or answers in another language, never says yes or no. Thread-safe.
    """

    def __init__(
        self, config: TeacherConfig, options: EngineOptions, usage: EngineUsage, silent: str = "says neither yes nor no"
    ) -> None:
        """`silent` says in a message what a rejected teacher does."""
        self.silent = silent
        self.config = config
        self.least = options.min_answer_mass
        self.usage = usage
        self._turn = threading.Lock()
        self._refusal: TeacherInvalid | None = None
        self.is_judged = False

    def require(self) -> None:
        """Raise the error found in the first batch: asking more would cost as much and end the same way."""
        if self._refusal is not None:
            raise self._refusal

    def add(self, mass: NDArray[np.floating], questions: Sequence[str], first_tokens: Iterable[str]) -> None:
        """Count the answers of a call, `mass` [I, Q].

        `first_tokens` are the most likely first tokens, consumed for the first batch only. Raises TeacherInvalid.
        """
        if not mass.size:
            return
        with self._turn:
            self.usage.answer_mass += float(mass.sum())
            if self.is_judged:
                return
            self.is_judged = True
            if (mean := float(mass.mean())) < self.least:
                self._refusal = self._explain(mean, mass.size, questions, first_tokens)
        self.require()

    def _explain(
        self, mean: float, answers: int, questions: Sequence[str], first_tokens: Iterable[str]
    ) -> TeacherInvalid:
        common = [token for token, _ in Counter(first_tokens).most_common(NAMED_TOKENS)]
        instead = f"; it begins with {named(common)} instead" if common else ""
        about = f"'{printable(questions[0], 60)}'" if len(questions) == 1 else f"{len(questions)} questions"
        return TeacherInvalid(
            f"teacher {printable(self.config.model, 100)} {self.silent}: their probability together is "
            f"{mean:.2g} on average in its first {answers} answers, to {about}{instead}; {REMEDY}"
        )


def total_mass(yes: NDArray[np.float32], no: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the probability of yes and no together from their log-probabilities, in the same shape."""
    mass: NDArray[np.float64] = np.exp(yes.astype(np.float64)) + np.exp(no.astype(np.float64))
    return mass


def named(tokens: Iterable[str]) -> str:
    """Return tokens in quotes, on one line, with visible white space."""
    return ", ".join(printable(repr(token), 40) for token in tokens)
