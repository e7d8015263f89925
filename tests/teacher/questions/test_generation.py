"""A question set from a language model: what it is asked, and what is made of its answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from storage.questions import AspectQuestion
from teacher.engines.config import TeacherConfig, resolve_served
from teacher.engines.openai.writer import OpenAIWriter
from teacher.engines.options import EngineOptions
from teacher.questions import SHARES
from teacher.questions.candidates import Rejection
from teacher.questions.generation import (
    AT_ONCE,
    GROUPS,
    PLACES,
    SPARE,
    Brief,
    Generated,
    PromptInvalid,
    generate,
    load_prompt,
    share_out,
)
from tests.teacher.servers import ScriptedServer, chat_reply, scripted_server

PROMPT = "{group}|{count}|{classes}|{existing}"
PARTS = ("tail", "ear", "nose", "paw", "coat", "collar", "whisker", "claw", "belly", "chin", "brow", "neck", "hip")


def question(part: str) -> dict[str, str]:
    return {"key": part, "text": f"Is the {part} long?", "negation": f"Is the {part} short?"}


def asked(request: Mapping[str, Any]) -> list[str]:
    """The prompt's places, filled in, in the order of `PROMPT`."""
    return str(request["messages"][0]["content"][-1]["text"]).split("|")


@contextmanager
def server_that_writes(write: Callable[[int, int], Sequence[Any]]) -> Iterator[ScriptedServer]:
    """Answers request number 0, 1, ... for a count of questions with what `write` returns."""

    def reply(request: Mapping[str, Any]) -> Any:
        questions = write(len(server.requests) - 1, int(asked(request)[1]))
        return chat_reply(json.dumps({"questions": questions}))

    with scripted_server(reply) as server:
        yield server


def generated(server: ScriptedServer, **brief: Any) -> Generated:
    writer = OpenAIWriter(resolve_served(TeacherConfig(model="m")), EngineOptions(base_url=server.url))
    try:
        return generate(writer, Brief(**{"classes": ["red fox", "bobcat"], "prompt": PROMPT, **brief}))
    finally:
        writer.close()


def test_a_set_is_written_group_by_group() -> None:
    parts = iter(PARTS)
    with server_that_writes(lambda number, count: [question(next(parts)) for _ in range(count)]) as server:
        result = generated(server, wanted={"visual": 2, "fur": 1}, seed=7)
    assert [(one.key, one.group) for one in result.questions] == [
        ("tail", "visual"),
        ("ear", "visual"),
        ("coat", "fur"),
    ]
    assert result.questions[0] == AspectQuestion(
        key="tail", text="Is the tail long?", group="visual", negation="Is the tail short?"
    )
    assert (result.missing, result.rejections, result.requests) == ({}, [], 2)
    first, second = server.requests
    assert asked(first) == [GROUPS["visual"], str(2 + SPARE), "red fox, bobcat", "(none)"]
    assert asked(second) == ["fur", str(1 + SPARE), "red fox, bobcat", "- Is the tail long?\n- Is the ear long?"]
    assert (first["seed"], second["seed"]) == (7, 8)
    schema = first["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["questions"]["minItems"] == 2 + SPARE


def test_missing_questions_are_requested_again() -> None:
    answers = [
        [question("tail"), {"key": "f", "text": "Is it a fox?", "negation": "Is it?"}, question("tail")],
        [question("tail"), question("ear")],
    ]
    with server_that_writes(lambda number, count: answers[number]) as server:
        result = generated(server, wanted={"visual": 2}, rounds=5)
    assert [one.key for one in result.questions] == ["tail", "ear"]
    assert result.rejections == [
        Rejection(group="visual", text="Is it a fox?", reason="names the class 'red fox'"),
        Rejection(group="visual", text="Is the tail long?", reason="repeats 'Is the tail long?'"),
        Rejection(group="visual", text="Is the tail long?", reason="repeats 'Is the tail long?'"),
    ]
    assert asked(server.requests[1])[1] == str(1 + SPARE)


def test_many_are_asked_for_in_several_requests_of_a_round() -> None:
    names = (f"{first} {second}" for first in PARTS for second in PARTS if first < second)
    with server_that_writes(lambda number, count: [question(next(names)) for _ in range(count)]) as server:
        result = generated(server, wanted={"visual": 2 * AT_ONCE + 1}, rounds=1)
    assert len(result.questions) == 2 * AT_ONCE + 1
    assert [asked(request)[1] for request in server.requests] == [str(AT_ONCE), str(AT_ONCE), str(1 + SPARE)]
    keys = [one.key for one in result.questions]
    assert len(set(keys)) == len(keys)


def test_after_the_last_round_the_found_questions_are_kept() -> None:
    with server_that_writes(lambda number, count: [question("tail")]) as server:
        result = generated(server, wanted={"visual": 3, "categorical": 1}, rounds=3)
    assert [one.key for one in result.questions] == ["tail"]
    assert dict(result.missing) == {"visual": 2, "categorical": 1}
    assert result.requests == len(server.requests) == 6


@pytest.mark.parametrize(
    ("content", "choice", "reason"),
    [
        ("Certainly! Here", {}, "answer is not the JSON asked for"),
        ('{"questions": [{', {"finish_reason": "length"}, "answer was cut off; see --max-tokens"),
    ],
)
def test_an_answer_that_cannot_be_read_costs_a_round(content: str, choice: dict[str, Any], reason: str) -> None:
    with scripted_server(lambda request: chat_reply(content, **choice)) as server:
        result = generated(server, wanted={"visual": 1}, rounds=1)
    assert result.rejections == [Rejection(group="visual", text=content, reason=reason)]


def test_braces_in_class_names_are_no_places() -> None:
    brief = Brief(classes=["{count}", "016_globe-flower"], wanted={"visual": 1}, prompt=PROMPT)
    assert brief.request("visual", 3, [], 0).prompt.split("|")[1:3] == ["3", "{count}, globe-flower"]


@pytest.mark.parametrize(
    ("count", "shares", "expected"),
    [
        (50, SHARES, {"visual": 30, "categorical": 12, "environmental": 8}),
        (10, SHARES, {"visual": 6, "categorical": 2, "environmental": 2}),
        (1, SHARES, {"visual": 1}),
        (5, {"a": 1, "b": 1}, {"a": 3, "b": 2}),
        (3, {"only": 7}, {"only": 3}),
    ],
)
def test_shares(count: int, shares: dict[str, int], expected: dict[str, int]) -> None:
    assert share_out(count, shares) == expected


def test_the_projects_own_prompt_has_all_places() -> None:
    prompt = load_prompt()
    assert all(f"{{{place}}}" in prompt for place in PLACES)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{classes} {count} {existing}", r"has no \{group\}; put it where"),
        (f"{PROMPT} {{clases}}", r"unknown place \{clases\}; known are \{classes\}, \{count\}"),
    ],
)
def test_a_prompt_with_other_places_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "mine.txt"
    path.write_text(text)
    with pytest.raises(PromptInvalid, match=reason) as caught:
        load_prompt(path)
    assert str(path) in str(caught.value)


def test_a_prompt_may_show_json(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text(f'{PROMPT} {{"questions": [{{"key": "..."}}]}}')
    assert load_prompt(path)


def test_a_prompt_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(PromptInvalid, match=r"cannot read prompt .*none.txt: No such file"):
        load_prompt(tmp_path / "none.txt")
    (tmp_path / "latin.txt").write_bytes("grün".encode("latin-1"))
    with pytest.raises(PromptInvalid, match="is not UTF-8 text"):
        load_prompt(tmp_path / "latin.txt")


def test_known_questions_are_listed_and_not_repeated() -> None:
    known = [AspectQuestion(key="tail", text="Is the tail long?", negation="Is the tail short?")]
    parts = iter(["tail", "ear"])
    with server_that_writes(lambda number, count: [question(next(parts)), question(next(parts))]) as server:
        result = generated(server, wanted={"visual": 1}, known=known)
    assert [one.key for one in result.questions] == ["ear"]
    assert [one.reason for one in result.rejections] == ["repeats 'Is the tail long?'"]
    assert asked(server.requests[0])[3] == "- Is the tail long?"
