"""A model that a server runs, which speaks OpenAI's chat completions: requests, keys, and what its errors mean."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import threading
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from openai import APIConnectionError, APIError, APIStatusError, AsyncOpenAI, Timeout
from openai.types.chat import ChatCompletion
from PIL import Image

from teacher.config import EngineOptions, TeacherInvalid, first_line
from teacher.engine import TeacherUnreachable

CONNECT_SECONDS = 30.0  # a busy server takes its time even to accept a connection
REFUSED = frozenset({400, 413, 422})  # HTTP states: this request cannot be answered, another might be
TRANSIENT = frozenset({408, 409, 429})  # and 500 or more: the same request may be answered later
# What OpenAI's newer models call the length limit. The old name goes first: a server that does not know a name may
# leave it out of account, and answer at length for money.
LENGTH_LIMITS = ("max_tokens", "max_completion_tokens")

Result = TypeVar("Result")


class RequestRefused(Exception):
    """The server understands the request and will not answer it."""


class ChatServer:
    """The model `model` at `options.base_url`, asked with at most `options.concurrency` requests at a time.

    Requests that fail for reasons that pass (rate limit, failure, silence) are tried again `options.max_retries`
    times. Coroutines run by `run` alone, which any thread may call. Raises TeacherInvalid for an address that is none.
    """

    def __init__(self, model: str, options: EngineOptions) -> None:
        if not (options.base_url or "").startswith(("http://", "https://")):
            raise TeacherInvalid(
                f"the teacher's server has the address {options.base_url!r}; set EngineOptions.base_url (--base-url), "
                "e.g. http://localhost:8000/v1"
            )
        self.model = model
        self.options = options
        self._client = AsyncOpenAI(
            base_url=options.base_url,
            # The client insists on a key; a server without keys does not look at it.
            api_key=os.environ.get(options.api_key_variable) or "none",
            timeout=Timeout(options.timeout, connect=CONNECT_SECONDS),
            max_retries=options.max_retries,
        )
        self._slots = asyncio.Semaphore(options.concurrency)
        self._length_limit = LENGTH_LIMITS[0]
        # One loop for good: connections stay open between calls, and belong to the loop that opened them.
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="chat-server", daemon=True)
        self._thread.start()

    def __str__(self) -> str:
        return f"model {self.model} at {self.options.base_url}"

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def close(self) -> None:
        self.run(self._client.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    async def check_address(self) -> None:
        """Raises TeacherInvalid where no server answers at all."""
        try:
            # Without retries: a mistyped address shows at once. Many servers have no such list; any answer will do.
            hasty = self._client.with_options(max_retries=0, timeout=CONNECT_SECONDS)
            await hasty.get("/models", cast_to=object)
        except APIConnectionError as error:
            raise TeacherInvalid(
                f"no server at {self.options.base_url} ({first_line(error.__cause__ or error)}); check --base-url, "
                "and that the server runs"
            ) from error
        except APIStatusError:
            pass  # whatever is wrong, the first request shows it

    async def complete(self, content: Sequence[Any], length: int, **fields: Any) -> ChatCompletion:
        """The answer to one user's message, at most `length` tokens; `fields` go into the request, and
        `options.arguments` over them. Raises RequestRefused, TeacherInvalid, TeacherUnreachable."""
        try:
            async with self._slots:
                completion = await self._client.chat.completions.create(
                    model=self.model,
                    messages=[{"role": "user", "content": list(content)}],
                    extra_body={self._length_limit: length, **fields, **self.options.arguments},
                )
        except APIError as error:
            raise self._explain(error) from error
        # The client takes whatever comes with a good state, a web page too.
        if not isinstance(completion, ChatCompletion) or not completion.choices:
            raise TeacherInvalid(
                f"what answers at {self.options.base_url} is no server of chat completions; check --base-url, "
                "which often ends in /v1"
            )
        return completion

    async def complete_first(self, content: Sequence[Any], length: int, **fields: Any) -> ChatCompletion:
        """As `complete`, for a request that the server should take: finds out how it calls the length limit."""
        refusals: dict[str, None] = {}
        for self._length_limit in LENGTH_LIMITS:
            try:
                return await self.complete(content, length, **fields)
            except RequestRefused as refusal:
                refusals[str(refusal)] = None
        raise RequestRefused("; ".join(refusals))

    def _explain(self, error: APIError) -> RequestRefused | TeacherInvalid | TeacherUnreachable:
        """What an error means for the caller, in words for the user."""
        url = self.options.base_url
        status = error.status_code if isinstance(error, APIStatusError) else None
        body = error.body if isinstance(error.body, dict) else {}
        said = " ".join(str(body.get("message") or str(error.__cause__ or "") or error.message).split())[:300]
        if status is None or status in TRANSIENT or status >= 500:
            return TeacherUnreachable(
                f"{self} gave no answer in up to {self.options.max_retries + 1} attempts ({said}); start again "
                "later, perhaps with a lower --concurrency"
            )
        if status in REFUSED:
            return RequestRefused(said)
        if status == 401:  # some servers repeat the key in their message
            return TeacherInvalid(
                f"{url} does not take the key; put yours into the environment variable "
                f"{self.options.api_key_variable}, or name another one with --api-key-variable"
            )
        if status == 404:
            return TeacherInvalid(
                f"{url} has no model {self.model} ({said}); check --teacher, and --base-url, which often ends in /v1"
            )
        return TeacherInvalid(f"{self} is not to be used ({status}: {said}); see its operator's documentation")


def image_part(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def text_part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def data_url(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")  # pixels arrive as they are
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
