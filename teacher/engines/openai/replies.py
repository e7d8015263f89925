"""Validate the replies of a chat completions server."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from teacher.engines.redaction import excerpt

LEAST_LOGPROB = -9999.0  # servers' value for an impossible token
ROUNDING = 1e-3  # nats that a logarithm in half precision may lie above 0
LARGEST_SUM = 1.05  # of the listed tokens' probabilities, rounded as well
MANY_TOKENS = 1_000_000_000
EXCERPT = 80  # characters of a reply in a message
LONGEST_INPUT = 4096  # and those searched for secrets first


class ReplyMalformed(Exception):
    """A reply is not valid; the message says why, on one line."""


def _logprob(value: float) -> float:
    if math.isnan(value) or value > ROUNDING:
        raise ValueError("should be the logarithm of a probability")
    return min(0.0, max(value, LEAST_LOGPROB))


class Part(BaseModel):
    """A part of a reply, validated strictly; unknown fields are ignored."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class ListedToken(Part):
    """A token and its log-probability in nats; `encoded` is its text as bytes, if the server sends them."""

    token: str
    logprob: Annotated[float, AfterValidator(_logprob)]
    encoded: list[Annotated[int, Field(ge=0, le=255)]] | None = Field(default=None, alias="bytes")

    @property
    def text(self) -> str:
        # Tokens outside ASCII come in a notation of the server's own; bytes are the same everywhere.
        return bytes(self.encoded).decode(errors="replace") if self.encoded else self.token


def _probabilities(listed: list[ListedToken] | None) -> list[ListedToken] | None:
    if sum(math.exp(one.logprob) for one in listed or ()) > LARGEST_SUM:
        raise ValueError("probabilities should add up to 1 at most")
    return listed


class AnswerToken(ListedToken):
    """A token of the answer, and the most likely alternatives."""

    top_logprobs: Annotated[list[ListedToken] | None, AfterValidator(_probabilities)] = None


class Logprobs(Part):
    content: list[AnswerToken] | None = None
    refusal: list[AnswerToken] | None = None


class Message(Part):
    content: str | None = None
    refusal: str | None = None


class Choice(Part):
    finish_reason: str | None = None
    message: Message | None = None
    logprobs: Logprobs | None = None

    @property
    def text(self) -> str:
        return (self.message and (self.message.content or self.message.refusal)) or ""


class TokenDetails(Part):
    cached_tokens: Annotated[int, Field(ge=0, le=MANY_TOKENS)] | None = None


class Usage(Part):
    prompt_tokens: Annotated[int, Field(ge=0, le=MANY_TOKENS)] | None = None
    prompt_tokens_details: TokenDetails | None = None

    @property
    def cached_tokens(self) -> int:
        return (self.prompt_tokens_details and self.prompt_tokens_details.cached_tokens) or 0


class ChatReply(Part):
    """The fields of a chat completion that are used here."""

    choices: Annotated[list[Choice], Field(min_length=1)]
    usage: Usage | None = None

    @property
    def choice(self) -> Choice:
        return self.choices[0]

    @property
    def prompt_tokens(self) -> int:
        return (self.usage and self.usage.prompt_tokens) or 0

    @property
    def cached_tokens(self) -> int:
        return self.usage.cached_tokens if self.usage else 0

    @property
    def listed(self) -> list[tuple[str, float]]:
        """The most likely first tokens with their log-probabilities; empty if the server sends none."""
        logprobs = self.choice.logprobs
        tokens = (logprobs.content or logprobs.refusal) if logprobs else None
        return [(one.text, one.logprob) for one in (tokens[0].top_logprobs if tokens else None) or ()]


def read_reply(body: bytes, secrets: Iterable[str] = ()) -> ChatReply:
    """Parse a reply's body as a chat completion. Raises ReplyMalformed, whose message contains none of `secrets`."""
    try:
        return ChatReply.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    if first["type"] == "json_invalid":
        text = body[:LONGEST_INPUT].decode(errors="replace")
        raise ReplyMalformed(f"its reply is no JSON: '{excerpt(text, secrets, EXCERPT)}'")
    where = ".".join(str(part) for part in first["loc"]) or "its reply"
    reason = first["msg"].removeprefix("Value error, ").lower()
    given = excerpt(repr(first["input"])[:LONGEST_INPUT], secrets, EXCERPT)
    raise ReplyMalformed(f"{where}: {reason}, not {given}")
