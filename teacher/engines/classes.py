"""Ask a language model about classes: prompts from the texts of classes, answers from log-probabilities of words."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from storage.questions import Choice, Option
from teacher.engines.answer_mass import AnswerMass, total_mass
from teacher.engines.base import EngineUsage, TextModel
from teacher.engines.choices import LETTERS, average_orders, choice_text, option_orders
from teacher.engines.config import ResolvedTeacher, TeacherConfig
from teacher.engines.options import EngineOptions

ONE_OPTION = "the letter of one option"
PLACE = re.compile(r"(\{class\}|\{question\}|\{answer\})")
Answers = NDArray[np.float32]


class ClassEngine:
    """Asks `model` about classes. Follows `TeacherEngine`, with texts about classes in place of images."""

    def __init__(self, model: TextModel, teacher: ResolvedTeacher, options: EngineOptions) -> None:
        self.config = teacher.config
        self.calls_at_once = model.calls_at_once
        self.slow_because = model.slow_because
        self._model = model
        self._mass = AnswerMass(self.config, options, self.usage)
        self._letters = AnswerMass(self.config, options, self.usage, silent="names no letter of an option")

    @property
    def usage(self) -> EngineUsage:
        return self._model.usage

    def answer(self, classes: Sequence[str], questions: Sequence[str | Option]) -> tuple[Answers, Answers]:
        """Return yes and no [C, Q] as `TeacherEngine.answer` does. Those of an option are `average_orders`'."""
        yes_CQ, no_CQ = (np.full((len(classes), len(questions)), np.nan, np.float32) for _ in range(2))
        self.usage.images += len(classes)
        plain = [column for column, question in enumerate(questions) if isinstance(question, str)]
        if plain:
            texts = [question for question in questions if isinstance(question, str)]
            yes_CQ[:, plain], no_CQ[:, plain] = self._answer(classes, texts)
        options = {option: column for column, option in enumerate(questions) if isinstance(option, Option)}
        by_size = sorted(dict.fromkeys(option.choice for option in options), key=lambda choice: len(choice.options))
        for _, group in itertools.groupby(by_size, key=lambda choice: len(choice.options)):
            choices = list(group)
            for choice, (yes_CN, no_CN) in zip(choices, self._choose(classes, choices), strict=True):
                for option, column in options.items():
                    if option.choice == choice:
                        yes_CQ[:, column], no_CQ[:, column] = yes_CN[:, option.index], no_CN[:, option.index]
        return yes_CQ, no_CQ

    def close(self) -> None:
        self._model.close()

    def _answer(self, classes: Sequence[str], questions: Sequence[str]) -> tuple[Answers, Answers]:
        self._mass.require()
        words = self.config.yes_words, self.config.no_words
        answer = f"{words[0][0]} or {words[1][0]}"
        messages = [[class_message(self.config, each, question, answer) for question in questions] for each in classes]
        scores = self._model.logprobs(messages, words)
        yes, no = (scores.logprobs[..., column].astype(np.float32) for column in range(2))
        self._mass.add(total_mass(yes, no), questions, scores.first_tokens)
        return yes, no

    def _choose(
        self, classes: Sequence[str], choices: Sequence[Choice]
    ) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Return yes and no [C, N] of the options of each choice; all of them have N options."""
        self._letters.require()
        orders = [option_orders(choice) for choice in choices]
        shown = [choice_text(choice, order) for choice, its in zip(choices, orders, strict=True) for order in its]
        messages = [[class_message(self.config, each, text, ONE_OPTION) for text in shown] for each in classes]
        count = len(choices[0].options)
        scores = self._model.logprobs(messages, [(letter,) for letter in LETTERS[:count]])
        self._letters.add(np.exp(scores.logprobs).sum(axis=-1), shown, scores.first_tokens)
        by_choice = scores.logprobs.reshape(len(classes), len(choices), count, count)
        return [average_orders(by_choice[:, place], its) for place, its in enumerate(orders)]


def class_message(config: TeacherConfig, subject: str, question: str, answer: str) -> str:
    """Return the user's message for a question about one class, whose text is `subject`."""
    named = f"{subject}, one of the {config.domain}" if config.domain else subject
    values = {"{class}": named, "{question}": question, "{answer}": answer}
    # In one pass: a class name may hold braces itself.
    parts = PLACE.split(config.prompt)
    return "".join(values.get(part, part) for part in parts)
