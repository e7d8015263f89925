"""Client of a model on a server with OpenAI's chat completions API: requests, keys, and the meaning of its errors."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import math
import os
import random
import threading
from collections.abc import Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

from PIL import Image

from teacher.engines.base import TeacherPaused, TeacherUnreachable
from teacher.engines.config import TeacherInvalid
from teacher.engines.openai.replies import ChatReply, ReplyMalformed, read_reply
from teacher.engines.openai.transport import (
    CONNECT_SECONDS,
    NoReply,
    Reply,
    Transport,
    check_address,
    check_key,
    check_variable,
)
from teacher.engines.options import EngineOptions
from teacher.engines.redaction import excerpt

REFUSED = frozenset({400, 413, 422})  # HTTP status: this request cannot be answered, another might be
TRANSIENT = frozenset({408, 409, 429})  # and 500 or more: the same request may succeed later
# Further attempts after a time-out or a malformed reply, which are rarely transient and expensive.
SLOW_RETRIES, MALFORMED_RETRIES = 1, 2
# Retries of the first request after a broken connection: a server that lists its models but breaks the connection at
# every question is not just busy.
FIRST_RETRIES = 2
FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0  # seconds between attempts
LONGEST_PROMISE = 60.0  # seconds in Retry-After that are waited for
LONGEST_PATIENCE = 600.0  # seconds in Retry-After from which asking any earlier is of no use
# The second is the name for OpenAI's newer models. The old name is tried first: a server may ignore an unknown name,
# and bill a long answer.
LENGTH_LIMITS = ("max_tokens", "max_completion_tokens")

Result = TypeVar("Result")


class RequestRefused(Exception):
    """The server understands the request and refuses to answer it."""


class ChatClient:
    """The model `model` at `options.base_url`, with at most `options.concurrency` requests at a time.

    Requests that fail for transient reasons (rate limit, failure, time-out) are retried `options.max_retries` times,
    each attempt for `options.timeout` seconds. Coroutines run only through `run`, which any thread may call. Raises
    TeacherInvalid for an invalid address. No message contains the key.
    """

    def __init__(self, model: str, options: EngineOptions) -> None:
        address = check_address(options.base_url)
        variable = check_variable(options.api_key_variable)
        key = check_key(os.environ.get(variable, ""), variable)
        self.model = model
        self.options = options
        self._secrets = (key,)
        self._transport = Transport(address, key or None)
        self._slots = asyncio.Semaphore(options.concurrency)
        self._length_limit = LENGTH_LIMITS[0]
        # One loop for all calls: connections stay open, and belong to the loop that opened them.
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="chat-server", daemon=True)
        self._thread.start()

    def __str__(self) -> str:
        return self.excerpt(f"model {self.model} at {self.options.base_url}")

    def excerpt(self, text: str, limit: int = 300) -> str:
        """Return the server's message on one line, without the key."""
        return excerpt(text, self._secrets, limit)

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def close(self) -> None:
        self.run(self._transport.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    async def check_address(self) -> None:
        """Raise TeacherInvalid if no server answers, or one that redirects requests elsewhere."""
        try:
            # No retries, so that a mistyped address shows at once. Many servers have no such list; any answer counts.
            reply = await self._transport.send("GET", "/models", None, min(self.options.timeout, CONNECT_SECONDS))
        except NoReply as error:
            raise TeacherInvalid(
                f"no server at {self.options.base_url} ({self.excerpt(str(error))}); check --base-url, and that the "
                "server runs"
            ) from error
        except ReplyMalformed:
            return  # the first request shows any other problem
        if 300 <= reply.state < 400:
            raise self._redirected(reply)

    async def complete(self, content: Sequence[Any], length: int, **fields: Any) -> ChatReply:
        """Return the answer to one user message, at most `length` tokens.

        `fields` are added to the request, then `options.arguments`, which win. Raises RequestRefused, TeacherInvalid,
        TeacherUnreachable, TeacherPaused.
        """
        body = self._request(content, length, fields)
        async with self._slots:
            return await self._send(body)

    async def complete_first(self, content: Sequence[Any], length: int, **fields: Any) -> ChatReply:
        """Like `complete`, for a request that the server should accept.

        Finds the server's name of the length limit, and treats a malformed reply as permanent.
        """
        refusals: dict[str, None] = {}
        for self._length_limit in LENGTH_LIMITS:
            try:
                body = self._request(content, length, fields)
                async with self._slots:
                    return await self._send(body, malformed_retries=0, broken_retries=FIRST_RETRIES)
            except RequestRefused as refusal:
                refusals[str(refusal)] = None
            except ReplyMalformed as error:
                raise TeacherInvalid(
                    f"what answers at {self.options.base_url} is no server of chat completions "
                    f"({self.excerpt(str(error))}); check --base-url, which often ends in /v1"
                ) from error
        raise RequestRefused("; ".join(refusals))

    def _request(self, content: Sequence[Any], length: int, fields: Mapping[str, Any]) -> bytes:
        document = {
            "model": self.model,
            "messages": [{"role": "user", "content": list(content)}],
            self._length_limit: length,
            **fields,
            **self.options.arguments,
        }
        return json.dumps(document).encode()

    async def _send(
        self, body: bytes, malformed_retries: int = MALFORMED_RETRIES, broken_retries: float = math.inf
    ) -> ChatReply:
        """Send one request and retry transient failures.

        Raises ReplyMalformed if that is not retried, and otherwise the same errors as `complete`.
        """
        attempts = slow = malformed = broken = 0
        while True:
            attempts += 1
            pause = None
            try:
                reply = await self._transport.send("POST", "/chat/completions", body, self.options.timeout)
                if reply.state < 300:
                    return read_reply(reply.body, self._secrets)
                permanent = self._explain(reply)
                if permanent is not None:
                    raise permanent
                reason, pause = self._message(reply), _promised_wait(reply)
                if pause is not None and pause > LONGEST_PATIENCE:
                    raise TeacherPaused(
                        f"{self} accepts no requests for another {pause:.0f} s ({reason}); run the same command again "
                        "after that: finished shards are kept"
                    )
                pause = pause if pause is not None and pause <= LONGEST_PROMISE else None
            except NoReply as error:
                reason = self.excerpt(str(error))
                slow, broken = slow + error.timed_out, broken + (not error.timed_out)
            except ReplyMalformed as error:
                if not malformed_retries:
                    raise
                reason, malformed = self.excerpt(str(error)), malformed + 1
            given_up = slow > SLOW_RETRIES or malformed > malformed_retries or broken > broken_retries
            if given_up or attempts > self.options.max_retries:
                raise TeacherUnreachable(
                    f"{self} gave no answer in up to {attempts} attempts ({reason}); start again later, perhaps with "
                    "a lower --concurrency"
                )
            await asyncio.sleep(_wait(attempts) if pause is None else pause)

    def _explain(self, reply: Reply) -> RequestRefused | TeacherInvalid | None:
        """Return the error for an HTTP status; None for one that is retried."""
        url, state = self.options.base_url, reply.state
        if state in TRANSIENT or state >= 500:
            return None
        said = self._message(reply)
        if state in REFUSED:
            return RequestRefused(said)
        if state < 400:
            return self._redirected(reply)
        if state == 401:
            return TeacherInvalid(
                f"{url} rejects the key; put yours into the environment variable "
                f"{self.options.api_key_variable}, or name another one with --api-key-variable"
            )
        if state == 404:
            return TeacherInvalid(
                f"{url} has no model {self.excerpt(self.model, 100)} ({said}); check --teacher, and --base-url, which "
                "often ends in /v1"
            )
        return TeacherInvalid(f"{self} rejects requests ({state}: {said}); see its operator's documentation")

    def _redirected(self, reply: Reply) -> TeacherInvalid:
        try:
            place = urlsplit(reply.headers.get("Location", ""))
            where = f"{place.scheme}://{place.hostname}" if place.hostname else place.path
        except ValueError:
            where = ""
        return TeacherInvalid(
            f"{self.options.base_url} redirects to {self.excerpt(where, 100) or 'nowhere'} ({reply.state}); requests "
            "and keys are not sent to other addresses; give the server's own address with --base-url"
        )

    def _message(self, reply: Reply) -> str:
        """Return the message in an error reply."""
        text = reply.body.decode(errors="replace")
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            document = None
        found = document.get("error", document) if isinstance(document, dict) else None
        if isinstance(found, dict):
            found = found.get("message") or found.get("detail")
        said = found if isinstance(found, str) and found.strip() else text
        return self.excerpt(said) or f"state {reply.state}"


def _wait(attempts: int) -> float:
    """Return the seconds before the next attempt: longer each time, with jitter so that requests that failed together
    spread."""
    return min(FIRST_WAIT * 2 ** (attempts - 1), LONGEST_WAIT) * random.uniform(0.75, 1)


def _promised_wait(reply: Reply) -> float | None:
    """Return the seconds of Retry-After; None if it is missing or invalid."""
    said = reply.headers.get("Retry-After", "")
    try:
        seconds = float(said)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):  # no date, or one without a time zone
            return None
    return seconds if 0 <= seconds < math.inf else None


def check_server(model: str, options: EngineOptions) -> None:
    """Raise TeacherInvalid if no server answers at the address."""
    server = ChatClient(model, options)
    try:
        server.run(server.check_address())
    finally:
        server.close()


def image_part(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def text_part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def data_url(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")  # lossless
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
