"""Remove keys and passwords from text that is printed, logged or stored."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from storage.text import printable

HIDDEN = "***"
SHORTEST_SECRET = 3  # characters; shorter ones would match ordinary words
PATTERNS = (
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/\s\"'<>@]*@", re.IGNORECASE), rf"\1{HIDDEN}@"),
    (re.compile(r"\b(bearer|basic)\s+(?=\S*\d)[\w.~+/=-]{8,}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    (
        re.compile(r"([?&;][\w.-]*(?:key|token|secret|passw(?:or)?d|signature|sig)=)[^&\s\"'<>#]+", re.IGNORECASE),
        rf"\1{HIDDEN}",
    ),
)
SECRET_NAMES = re.compile(
    r"(?:^|[_-])(?:api_?key|key|secret|passw(?:or)?d|authorization|credentials?|(?:auth|access|hf|api|bearer)_token)$",
    re.IGNORECASE,
)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return `text` without `secrets`, credentials in URLs, and values marked as keys."""
    # Longest first: one secret may be a prefix of another.
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= SHORTEST_SECRET:
            text = text.replace(secret, HIDDEN)
    for pattern, replacement in PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def excerpt(text: str, secrets: Iterable[str] = (), limit: int = 300) -> str:
    """Return text from outside for use in a message: without secrets, on one line, at most `limit` characters."""
    # Redact before cutting, or the beginning of a key would remain.
    return printable(redact(text, secrets), limit)


def names_secret(name: str) -> bool:
    """Return whether a setting of this name probably holds a secret."""
    return SECRET_NAMES.search(name) is not None


def hide_secrets(value: Any) -> Any:
    """Return a setting's JSON value without the parts whose names or marks show a secret."""
    if isinstance(value, Mapping):
        return {name: HIDDEN if names_secret(str(name)) else hide_secrets(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [hide_secrets(one) for one in value]
    return redact(value) if isinstance(value, str) else value
