"""A server's key stays out of messages, whatever the server or the user does with it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest

from teacher.engines.base import TeacherUnreachable
from teacher.engines.config import TeacherInvalid
from tests.teacher.servers import Reply, ScriptedServer, failure, scripted_server
from tests.teacher.test_hostile_servers import GOOD, KEY, ask, is_one_line, load, server

__all__ = ["server"]  # a fixture


@pytest.mark.parametrize("state", [301, 302, 307, 308])
def test_nothing_follows_a_redirect(server: ScriptedServer, state: int) -> None:
    with scripted_server(lambda request: GOOD) as other:
        server.reply = lambda request: failure(state, Location=f"{other.url}/chat/completions?key={KEY}")
        with pytest.raises(TeacherInvalid, match=r"redirects to http://127\.0\.0\.1 \(30") as caught:
            load(server.url)
        assert KEY not in str(caught.value)
        assert not other.requests
        assert not other.keys
    assert len(server.requests) == 1


def answer_always(reply: Reply, request: Mapping[str, Any]) -> Reply:
    return reply


@pytest.mark.parametrize("state", [200, 400, 403, 404, 422, 429, 500])
def test_a_key_that_the_server_repeats_is_not_shown(server: ScriptedServer, state: int) -> None:
    padding = "x" * 280  # the message is cut within the key
    for message in (f"no: Bearer {KEY} \x1b[2J", f"{padding} {KEY}"):
        reply = failure(state, message)
        server.reply = partial(answer_always, reply)
        with pytest.raises((TeacherInvalid, TeacherUnreachable)) as caught:
            ask(server.url, max_retries=0)
        assert is_one_line(caught.value)
        assert KEY[:12] not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://me:pass-word@localhost:8000/v1", "user name or password"),
        ("http://pass-word@localhost:8000/v1", "user name or password"),
        ("http://localhost:8000/v1?api_key=pass-word", r"'\?' or '#'"),
        ("http://localhost:8000/v1#pass-word", r"'\?' or '#'"),
        ("http:///v1", "no address of a server"),
        ("http://localhost:99999999/v1", "no address"),
        ("http://local\x1bhost/v1", "no address"),
        ("ftp://me:pass-word@localhost", "set EngineOptions.base_url"),
    ],
)
def test_an_address_that_holds_a_secret_or_is_none_is_refused(url: str, reason: str) -> None:
    with pytest.raises(TeacherInvalid, match=reason) as caught:
        load(url)
    assert "pass-word" not in str(caught.value)
    assert is_one_line(caught.value)


@pytest.mark.parametrize(
    ("variable", "key", "reason"),
    [(KEY, "x", "name of an environment variable"), ("MY_KEY", "sk-\x07 \u20ac secret", "characters that no key has")],
)
def test_a_key_in_the_wrong_place_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, variable: str, key: str, reason: str
) -> None:
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(TeacherInvalid, match=reason) as caught:
        load("http://127.0.0.1:9/v1", api_key_variable=variable)
    assert "secret" not in str(caught.value)
