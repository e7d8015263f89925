"""The forms of questions that a language model writes: yes/no, and multiple choice."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from storage.questions import AspectQuestion, Choice
from teacher.questions import candidates
from teacher.questions.candidates import LONGEST_KEY, LONGEST_TEXT, Rejection, one_line, repair_key, reply_entries
from teacher.questions.wording import ClassNames, nearly_the_same, readable

PROMPTS = Path(__file__).parent / "prompts"
LONGEST_OPTION = 60  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenChoice:
    """An accepted multiple-choice question; it becomes one aspect for each option."""

    key: str
    text: str
    options: tuple[str, ...]
    group: str

    def aspects(self) -> tuple[AspectQuestion, ...]:
        return Choice(self.text, self.options).aspects(self.key)


Written = AspectQuestion | WrittenChoice


class Form(Protocol):
    """A form of questions: how they are requested, validated and kept.

    `prompt` is the file of the default prompt, `places` its placeholders besides the common ones, with their values;
    `tokens` bounds a candidate's length.
    """

    @property
    def prompt(self) -> Path: ...

    @property
    def tokens(self) -> int: ...

    @property
    def places(self) -> Mapping[str, str]: ...

    def schema(self, count: int) -> dict[str, Any]:
        """Return the JSON schema of a reply with `count` candidates."""
        ...

    def judge(
        self, reply: str, group: str, found: Sequence[Written], classes: ClassNames
    ) -> Sequence[Written | Rejection]:
        """Judge each candidate of a reply, given the questions `found` before. Raises ReplyUnreadable."""
        ...

    def from_json(self, values: Mapping[str, Any]) -> Written:
        """The inverse of `to_json`. Raises KeyError, TypeError and ValueError for other values."""
        ...


def to_json(question: Written) -> dict[str, Any]:
    """Return a question for a draft."""
    return {name: value for name, value in dataclasses.asdict(question).items() if name != "option"}


@dataclass(frozen=True)
class YesNoForm:
    """Yes/no questions, each with a negation."""

    prompt: Path = PROMPTS / "generate_questions.txt"
    tokens: int = 150

    @property
    def places(self) -> Mapping[str, str]:
        return {}

    def schema(self, count: int) -> dict[str, Any]:
        return candidates.reply_schema(count)

    def judge(
        self, reply: str, group: str, found: Sequence[Written], classes: ClassNames
    ) -> Sequence[Written | Rejection]:
        accepted, judged = [each for each in found if isinstance(each, AspectQuestion)], list[Written | Rejection]()
        for candidate in candidates.read_reply(reply):
            verdict = candidates.judge(candidate, group, accepted, classes)
            judged.append(verdict)
            if isinstance(verdict, AspectQuestion):
                accepted.append(verdict)
        return judged

    def from_json(self, values: Mapping[str, Any]) -> AspectQuestion:
        return AspectQuestion(**values)


@dataclass(frozen=True, kw_only=True)
class PairForm(YesNoForm):
    """Yes/no questions that tell apart the two classes of `pairs`, the most confused pair first."""

    pairs: Sequence[tuple[str, str]]
    prompt: Path = PROMPTS / "generate_pair_questions.txt"

    @property
    def places(self) -> Mapping[str, str]:
        return {"pairs": "\n".join(f"- {readable(first)} and {readable(second)}" for first, second in self.pairs)}


@dataclass(frozen=True, kw_only=True)
class ChoiceForm:
    """Multiple-choice questions with a number of `options` each."""

    options: int
    prompt: Path = PROMPTS / "generate_choices.txt"
    tokens: int = 220

    @property
    def places(self) -> Mapping[str, str]:
        return {"options": str(self.options)}

    def schema(self, count: int) -> dict[str, Any]:
        texts = {"key": LONGEST_KEY, "text": LONGEST_TEXT}
        fields: dict[str, Any] = {name: {"type": "string", "maxLength": size} for name, size in texts.items()}
        option = {"type": "string", "maxLength": LONGEST_OPTION}
        fields["options"] = {"type": "array", "items": option, "minItems": self.options, "maxItems": self.options}
        return candidates.questions_schema(fields, count)

    def judge(
        self, reply: str, group: str, found: Sequence[Written], classes: ClassNames
    ) -> Sequence[Written | Rejection]:
        accepted, judged = list(found), list[Written | Rejection]()
        for key, text, options in reply_entries(reply, self._read):
            reason = self._fault(text, options, classes) or _repetition(text, accepted)
            if reason is not None:
                judged.append(Rejection(group=group, text=text, reason=reason))
                continue
            key = repair_key(key, text, {each.key for each in accepted})
            accepted.append(WrittenChoice(key=key, text=text, options=options, group=group))
            judged.append(accepted[-1])
        return judged

    def from_json(self, values: Mapping[str, Any]) -> WrittenChoice:
        written = WrittenChoice(**{**values, "options": tuple(values["options"])})
        written.aspects()
        return written

    def _read(self, entry: Any) -> tuple[str, str, tuple[str, ...]]:
        return one_line(entry["key"]), one_line(entry["text"]), tuple(one_line(option) for option in entry["options"])

    def _fault(self, text: str, options: Sequence[str], classes: ClassNames) -> str | None:
        if not text.rstrip().endswith("?") or text.count("?") != 1:
            return "no question"
        folded = [option.casefold() for option in options]
        if len(options) != self.options or len(set(folded)) != self.options or "" in folded:
            return f"not {self.options} different options"
        for part in (text, *options):
            if (named := classes.named_in(part)) is not None:
                return f"names the class {named!r}"
        return None


def _repetition(text: str, accepted: Sequence[Written]) -> str | None:
    repeated = next((each.text for each in accepted if nearly_the_same(text, each.text)), None)
    return None if repeated is None else f"repeats {repeated!r}"


YES_NO = YesNoForm()
YES_NO_ABOUT_CLASSES = YesNoForm(PROMPTS / "generate_class_questions.txt")
