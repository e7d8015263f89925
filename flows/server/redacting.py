"""Keep keys out of the data of a Prefect server: parameters, log, artifacts, states and tracebacks of runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flows.parameters import EngineParameters
from storage.errors import InputInvalid
from teacher.engines.redaction import names_secret, redact


class SecretGiven(InputInvalid):
    """The parameters of a run on a server contain a key; the message says where to put it."""


def secrets_of(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the secrets in a run's parameters: the key of the teacher's server, and request settings with a secret's
    name."""
    engine = parameters.get("engine")
    if not isinstance(engine, EngineParameters):
        return ()
    key = os.environ.get(engine.api_key_variable, "")
    return tuple(secret for secret in (key, *_named_secrets(engine.arguments)) if secret)


def require_no_secrets(parameters: Mapping[str, Any]) -> None:
    """Raise SecretGiven if the server would store a key with the run's parameters."""
    engine = parameters.get("engine")
    if not isinstance(engine, EngineParameters):
        return
    shown = str(engine.model_dump())
    if any(len(secret) > 3 and secret in shown for secret in secrets_of(parameters)):
        raise SecretGiven(
            "the settings of the teacher's engine hold a key, which the Prefect server would store; put it into the "
            "environment variable that --api-key-variable names, or unset PREFECT_API_URL to run without a server"
        )


@contextmanager
def hiding(secrets: tuple[str, ...]) -> Iterator[None]:
    """Remove `secrets` from the text of errors raised in the block, and from their causes."""
    try:
        yield
    except Exception as error:  # of any kind: Prefect stores the text of all
        found: BaseException | None = error
        seen: set[int] = set()  # an error may be its own cause
        while found is not None and id(found) not in seen:
            seen.add(id(found))
            found.args = tuple(redact(part, secrets) if isinstance(part, str) else part for part in found.args)
            found = found.__cause__ or found.__context__
        raise


def _named_secrets(settings: object, name: str = "") -> Iterator[str]:
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            yield from _named_secrets(value, str(key))
    elif isinstance(settings, str) and names_secret(name):
        yield settings
