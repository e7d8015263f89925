from __future__ import annotations

from pathlib import Path

import pytest

from storage.questions import (
    RESERVED_KEYS,
    AspectQuestion,
    Choice,
    QuestionSet,
    QuestionsInvalid,
    load_questions,
    write_questions,
)

TWO = """
questions:
  - key: has_stripes
    text: "Does it have stripes?"
    group: visual
  - {key: is_red, text: "Is it red?", negation: "Is it of another colour than red?"}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "questions.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def questions(*pairs: tuple[str, str], group: str | None = None) -> QuestionSet:
    return QuestionSet(tuple(AspectQuestion(key=key, text=text, group=group) for key, text in pairs))


def test_load(tmp_path: Path) -> None:
    loaded = load_questions(written(tmp_path, TWO))
    assert len(loaded) == 2
    assert loaded.keys == ("has_stripes", "is_red")
    assert loaded.texts == ("Does it have stripes?", "Is it red?")
    assert loaded.questions[0] == AspectQuestion(key="has_stripes", text="Does it have stripes?", group="visual")
    assert loaded.questions[1].negation == "Is it of another colour than red?"


def test_a_bare_list_is_enough(tmp_path: Path) -> None:
    assert load_questions(written(tmp_path, '- {key: is_red, text: "Is it red?"}')).keys == ("is_red",)


def test_fingerprint_is_of_keys_texts_and_their_order() -> None:
    first, second = ("a", "Is it a?"), ("b", "Is it b?")
    fingerprint = questions(first, second).fingerprint
    assert fingerprint == questions(first, second).fingerprint
    others = [
        questions(second, first),
        questions(first),
        questions(first, ("b", "Is it B?")),
        questions(first, ("c", "Is it b?")),
    ]
    assert len({fingerprint, *(other.fingerprint for other in others)}) == 5


def test_fingerprint_does_not_depend_on_groups_or_negations() -> None:
    plain = questions(("a", "Is it a?"))
    assert plain.fingerprint == questions(("a", "Is it a?"), group="visual").fingerprint
    negated = QuestionSet((AspectQuestion(key="a", text="Is it a?", negation="Is it something else?"),))
    assert plain.fingerprint == negated.fingerprint


def test_fingerprint_never_changes_between_versions() -> None:
    # sha256 of [["a", "Is it ä?"]] as JSON in UTF-8: stores on disk are found by it.
    import hashlib

    expected = hashlib.sha256('[["a", "Is it ä?"]]'.encode()).hexdigest()[:12]
    assert questions(("a", "Is it ä?")).fingerprint == expected


@pytest.mark.parametrize("key", ["", "Has_Stripes", "has stripes", "1st", "has-stripes", "_a", "größe", "a\n"])
def test_a_key_must_name_a_column(key: str) -> None:
    with pytest.raises(QuestionsInvalid, match=r"use snake_case, e.g. 'has_stripes'"):
        AspectQuestion(key=key, text="Is it?")


@pytest.mark.parametrize("key", sorted(RESERVED_KEYS))
def test_a_key_must_not_hide_a_column_of_the_store(key: str) -> None:
    with pytest.raises(QuestionsInvalid, match="is no free column name"):
        AspectQuestion(key=key, text="Is it?")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "has no list 'questions'"),
        ("questions: []", "the question set is empty"),
        ("questions: {a: b}", "has no list 'questions'"),
        ("just words", "has no list 'questions'"),
        ("questions: ['Is it red?']", "entry 1 needs 'key' and 'text'"),
        ("questions: [{key: a}]", "entry 1 needs 'key' and 'text'"),
        (
            'questions: [{key: a, text: "Is it?", colour: red}]',
            "entry 1 has unknown field 'colour'; known are key, text",
        ),
        ("questions: [{key: a, text: 7}]", "entry 1: 'text' is 7, not a string; put it in quotes"),
        ('questions: [{key: yes, text: "Is it?"}]', "entry 1: 'key' is true, not a string; put it in quotes"),
        ('questions: [{key: a, text: " "}]', "question 'a' has no text"),
        ('questions: [{key: a, text: "Is it?", group: 1}]', "entry 1: 'group' is 1"),
        ('questions: [{key: A, text: "Is it?"}]', "key 'A' is no free column name"),
        (
            'questions: [{key: a, text: "Is it b?"}, {key: a, text: "Is it c?"}]',
            "key 'a' occurs more than once",
        ),
        (
            'questions: [{key: a, text: "Is it b?"}, {key: b, text: "is it B? "}]',
            "text 'is it b\\?' occurs more than once",
        ),
        ("questions: [", "is no valid YAML"),
        ("questions:\n  - key: a\n    text: Is it: red?", "is no valid YAML .*put every question text in quotes"),
        ("questions: [{key: a, text: !!python/object/apply:os.getcwd []}]", "is no valid YAML"),
    ],
)
def test_invalid_question_sets_are_rejected(tmp_path: Path, text: str, reason: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(QuestionsInvalid, match=reason) as caught:
        load_questions(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(QuestionsInvalid, match=r"cannot read question set .*missing.yaml: No such file"):
        load_questions(tmp_path / "missing.yaml")
    with pytest.raises(QuestionsInvalid, match=r"cannot read question set .*: Is a directory"):
        load_questions(tmp_path)


def test_a_file_in_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes('- {key: a, text: "Ist sie grün?"}'.encode("latin-1"))
    with pytest.raises(QuestionsInvalid, match="is no valid YAML"):
        load_questions(path)


def test_texts_in_any_language(tmp_path: Path) -> None:
    path = written(tmp_path, '- {key: a, text: "花びらは黄色ですか"}')
    assert load_questions(path).texts == ("花びらは黄色ですか",)


def test_a_bad_negation_is_refused() -> None:
    with pytest.raises(QuestionsInvalid, match="negation"):
        AspectQuestion(key="a", text="Is it a?", negation="  ")
    with pytest.raises(QuestionsInvalid, match="negation"):
        AspectQuestion(key="a", text="Is it a?", negation="Is it a?")


def test_written_question_sets_are_read_again(tmp_path: Path) -> None:
    asked = QuestionSet(
        (
            AspectQuestion(key="yes", text="Is it: 'red'? # really", group="visual", negation="Is it not\tred?"),
            AspectQuestion(key="b", text=f"Ist es {'sehr ' * 40}grün?"),
        )
    )
    path = tmp_path / "new" / "set.yaml"
    write_questions(path, asked, heading="Two questions.\n\nThe key: a word")
    assert load_questions(path) == asked
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[:4] == ["# Two questions.", "#", "# The key: a word", "questions:"]
    assert any("sehr sehr grün?" in line and "Ist es" in line for line in lines)
    assert [entry.name for entry in path.parent.iterdir()] == ["set.yaml"]


def test_a_written_set_is_only_replaced_on_request(tmp_path: Path) -> None:
    path = tmp_path / "set.yaml"
    write_questions(path, questions(("a", "Is it a?")))
    with pytest.raises(QuestionsInvalid, match=r"set.yaml exists already; .*--force"):
        write_questions(path, questions(("b", "Is it b?")))
    assert load_questions(path).keys == ("a",)
    write_questions(path, questions(("b", "Is it b?")), replace=True)
    assert load_questions(path).keys == ("b",)


CHOICE = """
- {key: size, text: "How large is it?", options: ["Small", "Large"]}
- {key: is_red, text: "Is it red?"}
"""


def test_a_multiple_choice_question_becomes_an_aspect_for_each_option(tmp_path: Path) -> None:
    loaded = load_questions(written(tmp_path, CHOICE))
    assert loaded.keys == ("size_1", "size_2", "is_red")
    assert loaded.texts == ("How large is it? Small", "How large is it? Large", "Is it red?")
    assert [question.group for question in loaded.questions] == ["size", "size", None]
    assert loaded.choices == (Choice("How large is it?", ("Small", "Large")),)
    assert loaded.questions[2].asked == "Is it red?"
    write_questions(tmp_path / "again.yaml", loaded)
    assert load_questions(tmp_path / "again.yaml") == loaded


def test_an_answer_to_an_option_depends_on_all_options_but_not_on_their_order() -> None:
    def reuse_keys(*options: str) -> dict[str, str]:
        aspects = Choice("How large is it?", options).aspects("size")
        return {aspect.text: aspect.reuse_key for aspect in aspects}

    assert reuse_keys("Small", "Large") == reuse_keys("Large", "Small")
    others = reuse_keys("Small", "Large", "Huge")
    assert set(others.values()).isdisjoint(reuse_keys("Small", "Large").values())
    yes_no = questions(("size_1", "How large is it? Small"), ("size_2", "How large is it? Large"))
    choice = QuestionSet(Choice("How large is it?", ("Small", "Large")).aspects("size"))
    assert yes_no.fingerprint != choice.fingerprint
    assert yes_no.reuse_keys == yes_no.texts


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ('{key: a, text: "Which?", options: ["x"]}', "'Which\\?' has 1 options; give 2 to 9"),
        ('{key: a, text: "Which?", options: [a, b, c, d, e, f, g, h, i, j]}', "has 10 options; give 2 to 9"),
        ('{key: a, text: "Which?", options: ["x", "X "]}', "has the option 'x' more than once"),
        ('{key: a, text: "Which?", options: ["x", ""]}', "has the option ''"),
        ('{key: a, text: "Which?", options: ["x", "y\\nB. z"]}', "write each as text on one line"),
        ('{key: a, text: "Which?", options: ["x", 3]}', "'options' is 3, not a string"),
        ('{key: a, text: "Which?", options: "x"}', "'options' is 'x', not a list"),
        ('{key: a, text: "", options: ["x", "y"]}', "question 'a' has no text"),
        ('{key: a, text: "Which?", options: ["x", "y"], negation: "n"}', "has options, and so no 'negation'"),
        ('{key: a, text: "Which?", options: ["x", "y"], choices: 2}', "unknown field 'choices'"),
    ],
)
def test_options_are_checked(tmp_path: Path, entry: str, reason: str) -> None:
    with pytest.raises(QuestionsInvalid, match=f"questions.yaml: .*{reason}"):
        load_questions(written(tmp_path, f"- {entry}"))
