"""Language models on any server with OpenAI's chat completions API, asked without images."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import numpy as np

from storage.text import printable
from teacher.engines.answer_mass import named
from teacher.engines.base import EngineUsage, ImageRefused, TeacherUnreachable, WordScores
from teacher.engines.config import ResolvedTeacher, TeacherInvalid
from teacher.engines.openai.client import ChatClient, RequestRefused, text_part
from teacher.engines.openai.engine import (
    ATTEMPTS,
    WITHHELD,
    Listed,
    matching,
    refused_remedy,
    require_listed,
    unlisted_bound,
)
from teacher.engines.openai.replies import ChatReply
from teacher.engines.options import EngineOptions
from teacher.engines.prompt import fold

SAMPLE_MESSAGE = "Is a rose a flower?\nAnswer with Yes or No and nothing else."


class OpenAITextModel:
    """Follows `TextModel`, with `options.concurrency` requests at a time.

    The server lists its likeliest tokens. A word that is not listed gets the bound of `OpenAIEngine`;
    `usage.bounded` counts the messages with one. Loading asks one question, so that an address, key, model or setting
    that is wrong shows at once. Raises TeacherInvalid for those, and TeacherUnreachable, here and in `logprobs`.
    """

    calls_at_once = 2
    slow_because: str | None = None

    def __init__(self, teacher: ResolvedTeacher, options: EngineOptions) -> None:
        self.options = options
        self.usage = EngineUsage()
        self._server = ChatClient(teacher.config.model, options)
        try:
            self._server.run(self._check())
        except BaseException:
            self.close()
            raise

    def logprobs(self, messages: Sequence[Sequence[str]], words: Sequence[Sequence[str]]) -> WordScores:
        return self._server.run(self._logprobs(messages, words))

    def close(self) -> None:
        self._server.close()

    async def _logprobs(self, messages: Sequence[Sequence[str]], words: Sequence[Sequence[str]]) -> WordScores:
        started = time.perf_counter()
        scores = np.empty((len(messages), len(messages[0]), len(words)))
        first_tokens: list[str] = []

        async def ask(row: int, column: int) -> None:
            listed = await self._ask_message(row, messages[row][column])
            found = [matching(listed, spellings, fold) for spellings in words]
            self.usage.bounded += None in found
            bound = unlisted_bound(listed)
            scores[row, column] = [bound if logprob is None else logprob for logprob in found]
            first_tokens.append(max(listed, key=lambda one: one[1])[0])

        try:
            async with asyncio.TaskGroup() as group:  # the first error cancels all other requests
                for row in range(len(messages)):
                    for column in range(len(messages[row])):
                        group.create_task(ask(row, column))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        self.usage.engine_seconds += time.perf_counter() - started
        return WordScores(scores, first_tokens)

    async def _ask_message(self, row: int, message: str) -> Listed:
        """Return the most likely first tokens. Raises ImageRefused, TeacherInvalid, TeacherUnreachable."""
        for _ in range(ATTEMPTS):
            try:
                reply = await self._ask(message)
            except RequestRefused as refusal:
                raise ImageRefused(row, f"'{printable(message, 60)}': {refusal}") from refusal
            if reply.listed:
                self.usage.questions += 1
                self.usage.prompt_tokens += reply.prompt_tokens
                self.usage.cached_tokens += reply.cached_tokens
                return reply.listed
            reason = self._server.excerpt(reply.choice.finish_reason or "no reason given", 60)
            if reply.choice.finish_reason == WITHHELD:
                raise ImageRefused(row, f"no log-probabilities in its answer ({reason})")
        # It did return them when it was loaded: the server's fault, and not the message's.
        raise TeacherUnreachable(
            f"{self._server} returns no log-probabilities any more ({reason}); start again when the server is as before"
        )

    async def _ask(self, message: str, *, first: bool = False) -> ChatReply:
        """Send one request. Raises RequestRefused, TeacherInvalid, TeacherUnreachable."""
        complete = self._server.complete_first if first else self._server.complete
        fields = {"temperature": 0, "logprobs": True, "top_logprobs": self.options.top_logprobs}
        return await complete([text_part(message)], 1, **fields)

    async def _check(self) -> None:
        """Check the server with one question. Raises TeacherInvalid, TeacherUnreachable."""
        await self._server.check_address()
        try:
            listed = (await self._ask(SAMPLE_MESSAGE, first=True)).listed
        except RequestRefused as refusal:
            raise TeacherInvalid(
                f"{self._server} refuses every request ({refusal}); {refused_remedy(refusal)}"
            ) from refusal
        require_listed(self._server, listed)
        tokens = [token for token, _ in listed]
        if all(token.startswith("token_id:") for token in tokens):
            raise TeacherInvalid(
                f"{self._server} begins its answer with {named(tokens[:3])}; start it without "
                "--return-tokens-as-token-ids"
            )
