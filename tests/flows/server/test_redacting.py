"""What a Prefect server stores of a run holds no key."""

from __future__ import annotations

from typing import Any

import pytest

from flows.parameters import EngineParameters
from flows.server.redacting import SecretGiven, hiding, require_no_secrets, secrets_of
from storage.errors import RunFailed

KEY = "sk-verysecret-0123"
SERVER = "http://127.0.0.1:8000/v1"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def test_the_key_is_known_by_its_variable() -> None:
    assert secrets_of({"engine": EngineParameters(base_url=SERVER, api_key_variable="MY_KEY")}) == (KEY,)
    assert secrets_of({"engine": EngineParameters()}) == ()
    assert secrets_of({"dataset": "photos"}) == ()


@pytest.mark.parametrize(
    "arguments",
    [
        {"extra_headers": {"Authorization": "Bearer abcdef"}},
        {"api_key": "abcdef"},
        {"extra_body": {"nested": {"access_token": "abcdef"}}},
        {"user": KEY},
    ],
    ids=str,
)
def test_a_key_among_the_parameters_is_refused(arguments: dict[str, Any]) -> None:
    engine = EngineParameters(base_url=SERVER, api_key_variable="MY_KEY", arguments=arguments)
    with pytest.raises(SecretGiven, match="--api-key-variable names, or unset PREFECT_API_URL") as caught:
        require_no_secrets({"engine": engine})
    assert "abcdef" not in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("arguments", [{}, {"max_tokens": 3, "top_p": 0.5, "chat_template_kwargs": {"x": False}}])
def test_other_settings_are_not(arguments: dict[str, Any]) -> None:
    require_no_secrets({"engine": EngineParameters(base_url=SERVER, api_key_variable="MY_KEY", arguments=arguments)})


def test_secrets_echoed_by_a_server_are_hidden_in_errors() -> None:
    def fail() -> None:
        try:
            raise ValueError(f"the server said: bad key {KEY}", 3)
        except ValueError as error:
            raise RunFailed(f"no answer with {KEY}") from error

    with pytest.raises(RunFailed) as caught, hiding((KEY,)):
        fail()
    assert str(caught.value) == "no answer with ***"
    assert caught.value.__cause__ is not None
    assert caught.value.__cause__.args == ("the server said: bad key ***", 3)


def test_an_error_that_is_its_own_cause_is_raised_all_the_same() -> None:
    error = RunFailed(f"no answer with {KEY}")
    error.__cause__ = error
    with pytest.raises(RunFailed, match=r"no answer with \*\*\*"), hiding((KEY,)):
        raise error
