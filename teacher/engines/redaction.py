"""Keys and passwords taken out of what is printed, logged or stored, whoever wrote it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from storage.text import printable

HIDDEN = "***"
SHORTEST_SECRET = 3  # characters; what is shorter would be found in ordinary words
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
    """`text` without any of `secrets`, user names and passwords in addresses, and keys that are marked as such."""
    # The longest first: one secret may be the beginning of another.
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= SHORTEST_SECRET:
            text = text.replace(secret, HIDDEN)
    for pattern, replacement in PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def excerpt(text: str, secrets: Iterable[str] = (), limit: int = 300) -> str:
    """Foreign text for a message: without secrets, on one line, at most `limit` characters."""
    # Before it is cut, or the beginning of a key would stay.
    return printable(redact(text, secrets), limit)


def names_secret(name: str) -> bool:
    """Whether a setting of this name probably holds a secret."""
    return SECRET_NAMES.search(name) is not None


def hide_secrets(value: Any) -> Any:
    """A setting's value, of whatever JSON has, without what its names or marks show to be a secret."""
    if isinstance(value, Mapping):
        return {name: HIDDEN if names_secret(str(name)) else hide_secrets(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [hide_secrets(one) for one in value]
    return redact(value) if isinstance(value, str) else value
