from __future__ import annotations

import json

import pytest

from storage.questions import Choice
from teacher.questions.candidates import Rejection, ReplyUnreadable
from teacher.questions.forms import PROMPTS, YES_NO, YES_NO_ABOUT_CLASSES, ChoiceForm, PairForm, WrittenChoice
from teacher.questions.generation import Brief, Draft, load_prompt
from teacher.questions.wording import ClassNames

FORM = ChoiceForm(options=2)
CLASSES = ClassNames(["red fox", "bobcat"])
SIZE = {"key": "Size!", "text": "How large is it?", "options": ["Small", "Large"]}


def judged(*entries: object) -> list[str]:
    """The keys of accepted candidates, and the reasons of others."""
    verdicts = FORM.judge(json.dumps({"questions": entries}), "visual", [], CLASSES)
    return [verdict.reason if isinstance(verdict, Rejection) else verdict.key for verdict in verdicts]


def test_accepted_questions_become_aspects() -> None:
    (written,) = FORM.judge(json.dumps({"questions": [SIZE]}), "visual", [], CLASSES)
    assert written == WrittenChoice(key="size", text="How large is it?", options=("Small", "Large"), group="visual")
    assert written.aspects() == Choice("How large is it?", ("Small", "Large")).aspects("size")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"text": "How large is it"}, "no question"),
        ({"text": "Is it large? Or small?"}, "no question"),
        ({"options": ["Small"]}, "not 2 different options"),
        ({"options": ["Small", "small"]}, "not 2 different options"),
        ({"options": ["Small", ""]}, "not 2 different options"),
        ({"text": "How large is a bobcat?"}, "names the class 'bobcat'"),
        ({"options": ["As a fox", "Larger"]}, "names the class 'red fox'"),
    ],
)
def test_candidates_are_rejected_with_a_reason(change: dict[str, object], reason: str) -> None:
    assert judged(SIZE | change) == [reason]


def test_repetitions_are_rejected_and_keys_are_unique() -> None:
    colour = {"key": "size", "text": "Which colour is it?", "options": ["Red", "Blue"]}
    assert judged(SIZE, SIZE, colour) == ["size", "repeats 'How large is it?'", "size_2"]
    with pytest.raises(ReplyUnreadable):
        judged({"key": "a"})


def test_prompts_name_all_places() -> None:
    for form in (YES_NO, YES_NO_ABOUT_CLASSES, FORM):
        brief = Brief(
            classes=["001.red_fox"], wanted={"visual": 3}, prompt=load_prompt(form=form), form=form, domain="animals"
        )
        request = brief.request("visual", 3, [], seed=0)
        assert "animals: red fox" in request.prompt
        assert "{count}" not in request.prompt
    assert "exactly 2 options" in request.prompt
    assert "photo" not in (PROMPTS / "generate_class_questions.txt").read_text()


def test_a_draft_is_read_back() -> None:
    brief = Brief(classes=["red fox"], wanted={"visual": 2}, prompt=load_prompt(form=FORM), form=FORM)
    draft = Draft(brief)
    draft.found += FORM.judge(json.dumps({"questions": [SIZE]}), "visual", [], CLASSES)  # type: ignore[arg-type]
    values = json.loads(json.dumps(draft.to_json()))
    again = Draft.resume(brief, values)
    assert again.found == draft.found
    assert again.missing == {"visual": 1}


def test_a_prompt_about_pairs_names_them_as_words() -> None:
    form = PairForm(pairs=(("red_fox", "bobcat"), ("sea_horse", "cat")))
    brief = Brief(classes=["red_fox"], wanted={"visual": 1}, prompt=load_prompt(None, form), form=form)
    prompt = brief.request("visual", 3, [], seed=0).prompt
    assert "- red fox and bobcat\n- sea horse and cat\n" in prompt
    assert "{pairs}" not in prompt
