"""What is made of a language model's answers."""

from __future__ import annotations

import json

import pytest

from storage.questions import AspectQuestion
from teacher.questions.candidates import (
    Candidate,
    Rejection,
    ReplyUnreadable,
    judge,
    read_reply,
    repair_key,
    reply_schema,
)
from teacher.questions.wording import ClassNames

CLASSES = ClassNames(["red fox", "bobcat", "daisy"])
ACCEPTED = [
    AspectQuestion(key="long_tail", text="Does it have a long bushy tail?", negation="Is its tail short?"),
    AspectQuestion(key="snow", text="Is there snow on the ground?"),
]


def candidate(text: str, negation: str = "Is it something else?", key: str = "a_key") -> Candidate:
    return Candidate(key=key, text=text, negation=negation)


def test_a_good_question_is_taken_as_it_is() -> None:
    question = judge(candidate("Are the ears pointed?", "Are the ears round?", "ears"), "visual", ACCEPTED, CLASSES)
    assert question == AspectQuestion(
        key="ears", text="Are the ears pointed?", group="visual", negation="Are the ears round?"
    )


@pytest.mark.parametrize(
    ("text", "negation", "reason"),
    [
        ("Red fur", "Is it?", "no yes/no question"),
        ("What colour is it?", "Is it?", "no yes/no question"),
        ("Is the fur red", "Is it?", "no yes/no question"),
        ("Is the fur red or grey?", "Is it?", "either-or wording"),
        ("Is the fur not red?", "Is it?", "negated wording"),
        ("Is it shaped like daisies?", "Is it?", "names the class 'daisy'"),
        ("Is it hunted by foxes?", "Is it?", "names the class 'red fox'"),
        ("Is the fur red?", "", "negation is missing"),
        ("Is the fur red?", "is the fur red ?", "negation asks the same"),
        ("Is the fur red?", "No.", "negation is no yes/no question"),
        ("does it have a LONG bushy tail?", "Is it?", "repeats 'Does it have a long bushy tail?'"),
        ("Is its long tail bushy?", "Is it?", "repeats 'Does it have a long bushy tail?'"),
        ("Is its tail short?", "Is its tail long?", "asks the opposite of 'Does it have a long bushy tail?'"),
    ],
)
def test_a_bad_one_is_rejected_with_its_reason(text: str, negation: str, reason: str) -> None:
    rejected = judge(candidate(text, negation), "visual", ACCEPTED, CLASSES)
    assert rejected == Rejection(group="visual", text=text, reason=reason)


@pytest.mark.parametrize("text", ["Is the fur mainly red?", "Does it have cat-like eyes?", "Is snow on its back?"])
def test_words_in_common_do_not_make_a_question_bad(text: str) -> None:
    assert isinstance(judge(candidate(text), "visual", ACCEPTED, CLASSES), AspectQuestion)


@pytest.mark.parametrize(
    ("key", "repaired"),
    [
        ("has_stripes", "has_stripes"),
        ("Has Stripes!", "has_stripes"),
        ("2-coloured petals", "coloured_petals"),
        ("Größe", "groe"),
        ("", "long_bushy_tail"),
        ("花", "long_bushy_tail"),
        ("label", "long_bushy_tail"),
        ("snow", "snow_3"),
        ("x" * 99, "x" * 40),
    ],
)
def test_keys_are_repaired(key: str, repaired: str) -> None:
    assert repair_key(key, "Does it have a long bushy tail?", {"snow", "snow_2"}) == repaired


def test_a_text_without_letters_gets_a_key_too() -> None:
    assert repair_key("花", "花?", set()) == "question"


def test_an_answer_is_read_into_lines_that_can_be_written() -> None:
    reply = '{"questions": [{"key": "a", "text": "Is\\u0000 it\\n\\ud800 \x1b[31mred?", "negation": " Is it\tblue? "}]}'
    assert read_reply(reply) == [Candidate(key="a", text="Is it [31mred?", negation="Is it blue?")]


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "Sure! Here you are",
        '{"questions": [{"key": "a", "te',
        "[]",
        "{}",
        '{"questions": 3}',
        '{"questions": ["Is it?"]}',
        '{"questions": [{"key": "a", "text": "Is it?"}]}',
        '{"questions": [{"key": "a", "text": 3, "negation": "Is it?"}]}',
    ],
)
def test_replies_of_another_form_are_rejected(reply: str) -> None:
    with pytest.raises(ReplyUnreadable) as caught:
        read_reply(f"{reply}\n")
    assert str(caught.value) == reply


def test_the_schema_requests_the_fields_that_are_read() -> None:
    schema = reply_schema(3)
    assert schema["properties"]["questions"]["minItems"] == schema["properties"]["questions"]["maxItems"] == 3
    item = schema["properties"]["questions"]["items"]
    (read,) = read_reply(json.dumps({"questions": [{name: name for name in item["required"]}]}))
    assert read == Candidate(key="key", text="text", negation="negation")
