"""Generate a question set with a language model: ask group by group, validate, ask again for missing ones."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from storage.documents import MEGABYTE, DocumentInvalid, read_text
from storage.errors import InputInvalid
from storage.questions import AspectQuestion, QuestionSet
from teacher.engines.writer import Writer, WritingRequest, WrittenReply
from teacher.questions import ROUNDS
from teacher.questions.candidates import Rejection, ReplyUnreadable
from teacher.questions.forms import YES_NO, Form, Written, to_json
from teacher.questions.wording import ClassNames, readable

PLACES = ("classes", "count", "existing", "group")  # placeholders in the prompt, each in braces
# Descriptions of the common groups for the prompt; any other group is given by its name.
GROUPS = {
    "visual": "visual (how it looks: colours, shapes, sizes, surfaces, parts)",
    "categorical": "categorical (what kind of thing it is, what it is for, what it is made of)",
    "environmental": "environmental (what surrounds it: place, background, light, company)",
}
AT_ONCE = 10  # questions per request: in longer lists the later ones repeat earlier ones
SPARE = 2  # requested in addition, since some will be rejected


class PromptInvalid(InputInvalid):
    """The prompt's file cannot be used; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Brief:
    """A request for `wanted` questions of each group that distinguish `classes`, of a `domain` if one is given.

    `prompt` has the placeholders `PLACES` and those of the questions' `form`. `known` questions are not to be repeated.
    Missing questions are requested in at most `rounds` rounds. A reply has at most `length` tokens; None allows as many
    as its candidates need.
    """

    classes: Sequence[str]
    wanted: Mapping[str, int]
    prompt: str
    images: Sequence[Image.Image] = field(default=(), repr=False)
    rounds: int = ROUNDS
    length: int | None = None
    seed: int = 0
    form: Form = YES_NO
    domain: str | None = None
    known: Sequence[Written] = ()

    def request(self, group: str, count: int, existing: Sequence[Written], seed: int) -> WritingRequest:
        names = ", ".join(map(readable, self.classes))
        values = {
            **self.form.places,
            "classes": f"{self.domain}: {names}" if self.domain else names,
            "count": str(count),
            "existing": "\n".join(f"- {question.text}" for question in (*self.known, *existing)) or "(none)",
            "group": GROUPS.get(group, group),
        }
        return WritingRequest(
            prompt=re.sub(r"\{(\w+)\}", lambda place: values.get(place[1], place[0]), self.prompt),
            schema=self.form.schema(count),
            length=self.length or self.form.tokens * count,
            seed=seed,
            images=self.images,
        )


@dataclass(frozen=True, kw_only=True)
class Generated:
    """The questions, ordered by group, and the rejected candidates, in the order written.

    `missing` has the incomplete groups. `saw_images` is true if the model was shown the images.
    """

    questions: Sequence[Written]
    rejections: Sequence[Rejection]
    missing: Mapping[str, int]
    requests: int
    saw_images: bool

    def question_set(self) -> QuestionSet:
        """Return the questions, multiple-choice ones as one aspect for each option."""
        each = [(one,) if isinstance(one, AspectQuestion) else one.aspects() for one in self.questions]
        return QuestionSet(tuple(itertools.chain.from_iterable(each)))


def generate(
    writer: Writer,
    brief: Brief,
    on_round: Callable[[int, int, int], None] | None = None,
    *,
    draft: Draft | None = None,
    on_request: Callable[[], None] | None = None,
) -> Generated:
    """Generate the questions.

    `on_round` gets the round's number (from 1) and the numbers of questions found and candidates rejected so far.
    `draft` holds earlier questions and collects new ones; `on_request` is called after each request. Raises the errors
    of `writer`.
    """
    draft = draft or Draft(brief)
    for number in range(1, brief.rounds + 1):
        for group, count in draft.missing.items():
            for _ in range(-(-count // AT_ONCE)):
                draft.extend(writer, group)
                if on_request is not None:
                    on_request()
        if on_round is not None:
            on_round(number, len(draft.found), len(draft.rejections))
        if not draft.missing:
            break
    order = list(brief.wanted)
    return Generated(
        questions=sorted(draft.found, key=lambda question: order.index(question.group or "")),
        rejections=draft.rejections,
        missing=draft.missing,
        requests=draft.requests,
        saw_images=draft.saw_images,
    )


class Draft:
    """The questions found and the candidates rejected so far."""

    def __init__(self, brief: Brief) -> None:
        self.brief = brief
        self.classes = ClassNames(brief.classes)
        self.found: list[Written] = []
        self.rejections: list[Rejection] = []
        self.requests = 0
        self.saw_images = False

    def to_json(self) -> dict[str, Any]:
        """Return the state that `resume` needs."""
        return {
            "classes": list(self.brief.classes),
            "requests": self.requests,
            "questions": [to_json(question) for question in self.found],
        }

    @classmethod
    def resume(cls, brief: Brief, values: Mapping[str, Any]) -> Draft:
        """Continue from the result of `to_json`, with those of its questions that the brief still wants; none if the
        classes differ.

        Raises KeyError or TypeError for other values.
        """
        draft = cls(brief)
        if values["classes"] != list(brief.classes):
            return draft
        if type(values["requests"]) is not int:
            raise TypeError("requests is no number")
        draft.requests = values["requests"]
        for question in map(brief.form.from_json, values["questions"]):
            if draft.missing.get(question.group or ""):
                draft.found.append(question)
        return draft

    @property
    def missing(self) -> dict[str, int]:
        """Return the number of missing questions by group; complete groups are left out."""
        groups = [question.group for question in self.found]
        lacking = {group: count - groups.count(group) for group, count in self.brief.wanted.items()}
        return {group: count for group, count in lacking.items() if count > 0}

    def extend(self, writer: Writer, group: str) -> None:
        """Make one request for missing questions of the group, if any."""
        count = self.missing.get(group, 0)
        if not count:
            return
        seed = self.brief.seed + self.requests
        reply = writer.write(self.brief.request(group, min(AT_ONCE, count + SPARE), self.found, seed))
        self.requests += 1
        self.saw_images |= reply.saw_images
        for verdict in self._judged(reply, group):
            if isinstance(verdict, Rejection):
                self.rejections.append(verdict)
            elif self.missing.get(group):
                self.found.append(verdict)

    def _judged(self, reply: WrittenReply, group: str) -> Sequence[Written | Rejection]:
        """Judge the candidates of a reply; an unreadable one is rejected as a whole."""
        try:
            return self.brief.form.judge(reply.text, group, [*self.brief.known, *self.found], self.classes)
        except ReplyUnreadable as error:
            reason = "answer was cut off; see --max-tokens" if reply.cut else "answer is not the JSON asked for"
            self.rejections.append(Rejection(group=group, text=str(error), reason=reason))
            return []


def share_out(count: int, shares: Mapping[str, int]) -> dict[str, int]:
    """Divide `count` questions in the proportions of `shares`, by largest remainder; earlier groups win ties."""
    total = sum(shares.values())
    whole = {group: count * share // total for group, share in shares.items()}
    by_remainder = sorted(shares, key=lambda group: -(count * shares[group] % total))
    for group in by_remainder[: count - sum(whole.values())]:
        whole[group] += 1
    return {group: number for group, number in whole.items() if number}


def load_prompt(path: Path | None = None, form: Form = YES_NO) -> str:
    """Read a prompt file, the form's own by default. Raises PromptInvalid if a placeholder is missing or unknown."""
    path, known_places = path or form.prompt, (*PLACES, *form.places)
    try:
        prompt = read_text(path, limit=MEGABYTE)
    except OSError as error:
        raise PromptInvalid(f"cannot read prompt {path}: {error.strerror}") from error
    except DocumentInvalid as error:
        raise PromptInvalid(f"cannot read prompt: {error}") from error
    places = set(re.findall(r"\{(\w+)\}", prompt))
    for place in known_places:
        if place not in places:
            raise PromptInvalid(f"prompt {path} has no {{{place}}}; put it where that belongs")
    if unknown := sorted(places - set(known_places)):
        known = ", ".join(f"{{{place}}}" for place in known_places)
        raise PromptInvalid(f"prompt {path} has an unknown place {{{unknown[0]}}}; known are {known}")
    return prompt
