"""Candidate questions of a round: from a pool, or written by a language model about confused pairs of classes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from flows.parameters import ImprovementParameters
from flows.work.generation import open_writer
from flows.work.host import Host
from storage.filesystem import write_file
from storage.questions import AspectQuestion, QuestionSet, load_questions, write_questions
from teacher.questions import ROUNDS, SHARES
from teacher.questions.brief import draft_file, read_draft
from teacher.questions.forms import PairForm
from teacher.questions.generation import Brief, generate, load_prompt, share_out

Pairs = Sequence[tuple[str, str]]


class CandidateSource(Protocol):
    """Where candidates come from."""

    def candidates(
        self, number: int, pairs: Pairs, known: Sequence[AspectQuestion], dropped: Sequence[str]
    ) -> list[AspectQuestion]:
        """Return the candidates of round `number` that tell apart the classes of `pairs`.

        `known` are the questions of earlier rounds and of the present set, `dropped` the keys of candidates that
        earlier rounds dropped, the best ones first.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Pool:
    """A fixed list of candidates: all of them in the first round, then the better half of those dropped before."""

    questions: QuestionSet

    def candidates(
        self, number: int, pairs: Pairs, known: Sequence[AspectQuestion], dropped: Sequence[str]
    ) -> list[AspectQuestion]:
        if number == 1:
            return list(self.questions.questions)
        by_key = {question.key: question for question in (*known, *self.questions.questions)}
        return [by_key[key] for key in dropped[: -(-len(dropped) // 2)]]


@dataclass(frozen=True, kw_only=True)
class Written:
    """A language model that writes new candidates in each round. They are kept in `folder`: a resumed command does not
    request them again."""

    host: Host
    asked: ImprovementParameters
    class_names: Sequence[str]
    folder: Path

    def candidates(
        self, number: int, pairs: Pairs, known: Sequence[AspectQuestion], dropped: Sequence[str]
    ) -> list[AspectQuestion]:
        file = self.folder / f"round-{number}" / "candidates.yaml"
        if file.exists():
            return list(load_questions(file).questions)
        form = PairForm(pairs=tuple(pairs))
        brief = Brief(
            classes=self.class_names,
            wanted=share_out(self.asked.candidates, SHARES),
            prompt=load_prompt(None, form),
            rounds=ROUNDS,
            seed=number,
            form=form,
            known=known,
        )
        found = self._write(brief, file)
        if found:
            write_questions(file, QuestionSet(tuple(found)), heading=f"Candidates of round {number}.")
        draft_file(file).unlink(missing_ok=True)
        return found

    def _write(self, brief: Brief, file: Path) -> list[AspectQuestion]:
        model, engine = self.asked.writing()
        resolved = model.resolve(engine.choose()[0], engine.settings())
        draft, unfinished = read_draft(file, brief), draft_file(file)

        def keep() -> None:
            write_file(unfinished, json.dumps(draft.to_json()).encode())

        with self.host.reporter.working("loading the model that writes"):
            writer = open_writer(resolved, engine, 0)
        with closing(writer), self.host.reporter.working("writing candidates"):
            generated = generate(writer, brief, draft=draft, on_request=keep)
        self.host.reporter.say(
            f"{resolved.config.model} wrote {len(generated.questions)} candidates; {len(generated.rejections)} rejected"
        )
        return list(generated.question_set().questions) if generated.questions else []
