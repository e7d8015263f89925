"""What is told from words alone; tests/storage/test_question_sets.py holds the bundled sets to the same rules."""

from __future__ import annotations

import pytest

from teacher.questions.wording import (
    ClassNames,
    is_either_or,
    is_negated,
    is_yes_no_question,
    nearly_the_same,
    readable,
    stem,
)


@pytest.mark.parametrize(
    "text",
    ["Is it red?", "does the bird have a crest? ", "Can wheels be seen?", "Don\u2019t they shine?", "Isn't it 2?"],
)
def test_a_yes_no_question(text: str) -> None:
    assert is_yes_no_question(text)


@pytest.mark.parametrize("text", ["", "?", "Is it red", "What colour is it?", "Is it red? Is it big?", "Isaac?", "花?"])
def test_no_yes_no_question(text: str) -> None:
    assert not is_yes_no_question(text)


def test_either_or_is_a_word_of_its_own() -> None:
    assert is_either_or("Is it red or blue?")
    assert is_either_or("Is it EITHER?")
    assert not is_either_or("Is the orchard visible?")


@pytest.mark.parametrize("text", ["Is it not red?", "Isn't it red?", "Is it without a tail?", "Doesn\u2019t it shine?"])
def test_negated_wording(text: str) -> None:
    assert is_negated(text)


@pytest.mark.parametrize("text", ["Is it a T-shirt?", "Is there a notch?", "Is the knot tied?"])
def test_wording_that_only_looks_negated(text: str) -> None:
    assert not is_negated(text)


def test_near_duplicates() -> None:
    assert nearly_the_same("Are the petal edges ruffled?", "Are ruffled edges on the petals?")
    assert nearly_the_same("Is it red?", "is it  red ?")
    assert nearly_the_same("Is it on?", "Is it on?")
    assert not nearly_the_same("Is it on?", "Is it there?")
    assert not nearly_the_same("Are the petals yellow?", "Are the petals white?")


@pytest.mark.parametrize(
    ("one", "several"),
    [
        ("daisy", "daisies"),
        ("rose", "roses"),
        ("bus", "buses"),
        ("leaf", "leaves"),
        ("knife", "knives"),
        ("glove", "gloves"),
        ("glass", "glasses"),
        ("iris", "irises"),
        ("box", "boxes"),
        ("finch", "finches"),
        ("cat", "cats"),
        ("tree", "trees"),
    ],
)
def test_a_word_and_its_plural_have_one_stem(one: str, several: str) -> None:
    assert stem(one) == stem(several)


def test_words_that_only_begin_alike_have_stems_of_their_own() -> None:
    assert len({stem(word) for word in ("plan", "plane", "cap", "cape", "car", "care", "pin", "pine")}) == 8


CLASSES = ClassNames(
    [
        "747-400",
        "red fox",
        "bobcat",
        "Yellow Warbler",
        "Hooded Warbler",
        "012.Sea_horse",
        "StopSign",
        "lily of the valley",
        "747-400",
    ]
)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Is it a red fox?", "red fox"),
        ("Does it have the tail of foxes?", "red fox"),
        ("Are there bobcats?", "bobcat"),
        ("Is it a seahorse?", "012.Sea_horse"),
        ("Is it a sea horse?", "012.Sea_horse"),
        ("Is a stop sign visible?", "StopSign"),
        ("Does the bird wear a hooded cap?", "Hooded Warbler"),
        ("Is it found in a valley?", "lily of the valley"),
        ("Is it a 747-400?", "747-400"),
    ],
)
def test_a_question_that_names_a_class(text: str, named: str) -> None:
    assert CLASSES.named_in(text) == named


@pytest.mark.parametrize(
    "text",
    [
        "Is the fur mainly red?",
        "Does it have cat-like eyes?",
        "Is it a kind of warbler?",
        "Is it swimming in the sea?",
        "Is there a sign in the picture?",
        "Are there 400 of them?",
        "Is the breast yellow?",
    ],
)
def test_a_question_that_names_none(text: str) -> None:
    assert CLASSES.named_in(text) is None


def test_common_words_that_are_a_whole_name_count() -> None:
    assert ClassNames(["red", "striped"]).named_in("Is it striped?") == "striped"


def test_names_without_a_word_name_nothing() -> None:
    assert ClassNames(["", "--", "7"]).named_in("Is it striped?") is None


@pytest.mark.parametrize(
    ("name", "people_write"),
    [
        ("016_globe-flower", "globe-flower"),
        ("001.Black_footed_Albatross", "Black footed Albatross"),
        ("StopSign", "Stop Sign"),
        ("747-400", "747-400"),
        ("A380", "A380"),
        ("7", "7"),
        ("sweet  pea", "sweet pea"),
    ],
)
def test_names_as_people_write_them(name: str, people_write: str) -> None:
    assert readable(name) == people_write
