"""Engine for a teacher on any server with OpenAI's chat completions API that returns log-probabilities."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from storage.text import printable
from teacher.engines.answer_mass import AnswerMass, named
from teacher.engines.base import EngineUsage, ImageRefused, TeacherUnreachable
from teacher.engines.config import ResolvedTeacher, TeacherConfig, TeacherInvalid
from teacher.engines.openai.client import ChatClient, RequestRefused, data_url, image_part, text_part
from teacher.engines.openai.replies import ChatReply
from teacher.engines.options import EngineOptions
from teacher.engines.prompt import WORD_STARTS

SAMPLE_QUESTION = "Is this a picture?"
WITHHELD = "content_filter"  # finish reason of an answer withheld for this image
ATTEMPTS = 3  # for an answer without log-probabilities
ROUNDING = 1e-6  # of a sum of probabilities that were float32 logarithms

Listed = Sequence[tuple[str, float]]


class OpenAIEngine:
    """Asks a server, `options.concurrency` requests at a time. Follows the contract of `TeacherEngine`.

    A server lists the likeliest tokens only, `options.top_logprobs` of them. The spellings of yes and of no among
    them are summed; others would add next to nothing. Where yes or no is not listed at all, the value is a bound, the
    largest that an unlisted token can have (`read_answer`): the certainty of the answer that was listed is then a lower
    bound. `usage.bounded` counts the answers with such a value; where neither is listed, both values are the bound,
    and the answer says nothing.

    Loading asks one question about a grey image, so that an address, key, model or setting that is wrong shows before
    any image is sent. Raises TeacherInvalid for those, and TeacherUnreachable, here and in `answer`, where requests
    still fail for reasons that pass (rate limit, failure, silence) after `options.max_retries` more attempts.
    """

    # While the last requests of one call are in flight, the next call keeps the server busy.
    calls_at_once = 2
    slow_because: str | None = None

    def __init__(self, teacher: ResolvedTeacher, options: EngineOptions) -> None:
        self.config = teacher.config
        self.options = options
        self.usage = EngineUsage()
        self._mass = AnswerMass(self.config, options, self.usage)
        self._server = ChatClient(teacher.config.model, options)
        self._sample = data_url(Image.new("RGB", (64, 64), "gray"))
        # Beside the loop, and one image after the other: the first are asked about while the next are encoded.
        self._encoder = ThreadPoolExecutor(1, "png")
        try:
            self._server.run(self._check())
        except BaseException:
            self.close()
            raise

    def answer(
        self, images: Sequence[Image.Image], questions: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self._server.run(self._answer(images, questions))

    def close(self) -> None:
        self._server.close()
        self._encoder.shutdown()

    async def _answer(
        self, images: Sequence[Image.Image], questions: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        started = time.perf_counter()
        self._mass.require()
        scores_IQ2 = np.empty((len(images), len(questions), 2), np.float32)
        mass_IQ = np.empty((len(images), len(questions)))
        first_tokens: list[str] = []

        async def ask(row: int, column: int, url: str) -> None:
            listed = await self._ask_pair(row, url, questions[column])
            yes, no, bounded = read_answer(listed, self.config)
            self.usage.bounded += bounded
            scores_IQ2[row, column], mass_IQ[row, column] = (yes, no), listed_mass(listed, self.config)
            first_tokens.append(max(listed, key=lambda one: one[1])[0])

        async def ask_all(row: int) -> None:
            url = await self._server.loop.run_in_executor(self._encoder, self._encode, images[row])
            # One question ahead: a server with a prefix cache has the image in it for the others, and an image that
            # is refused costs one request.
            await ask(row, 0, url)
            self.usage.images += 1
            for column in range(1, len(questions)):
                group.create_task(ask(row, column, url))

        try:
            async with asyncio.TaskGroup() as group:  # the first error cancels all other requests
                for row in range(len(images)):
                    group.create_task(ask_all(row))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        self._mass.add(mass_IQ, questions, first_tokens)
        self.usage.engine_seconds += time.perf_counter() - started
        return scores_IQ2[..., 0], scores_IQ2[..., 1]

    def _encode(self, image: Image.Image) -> str:
        started = time.perf_counter()
        url = data_url(image)
        self.usage.render_seconds += time.perf_counter() - started
        return url

    async def _ask_pair(self, row: int, url: str, question: str) -> Listed:
        """Return the most likely first tokens. Raises ImageRefused, TeacherInvalid, TeacherUnreachable."""
        for _ in range(ATTEMPTS):
            try:
                reply = await self._ask(url, question)
            except RequestRefused as refusal:
                await self._check_question(question)
                raise ImageRefused(row, str(refusal)) from refusal
            if reply.listed:
                self._count(reply)
                return reply.listed
            reason = self._server.excerpt(reply.choice.finish_reason or "no reason given", 60)
            if reply.choice.finish_reason == WITHHELD:
                raise ImageRefused(row, f"no log-probabilities in its answer ({reason})")
        # It did return them when it was loaded: the server's fault, and not the image's.
        raise TeacherUnreachable(
            f"{self._server} returns no log-probabilities any more ({reason}); run the same command again when it does"
        )

    async def _ask(self, url: str, question: str, *, first: bool = False) -> ChatReply:
        """Send one request. Raises RequestRefused, TeacherInvalid, TeacherUnreachable."""
        complete = self._server.complete_first if first else self._server.complete
        content = [image_part(url), text_part(self.config.message(question))]
        return await complete(content, 1, temperature=0, logprobs=True, top_logprobs=self.options.top_logprobs)

    async def _check(self) -> None:
        """Check the server with one question. Raises TeacherInvalid, TeacherUnreachable."""
        await self._server.check_address()
        listed = (await self._ask_sample()).listed
        require_listed(self._server, listed)
        if all(matching(listed, words) is None for words in (self.config.yes_words, self.config.no_words)):
            tokens = [token for token, _ in listed]
            if all(token.startswith("token_id:") for token in tokens):
                remedy = "start it without --return-tokens-as-token-ids"
            else:
                remedy = (
                    "set --prompt, --yes-words and --no-words to its language, or let it not think first: "
                    "--request 'chat_template_kwargs={enable_thinking: false}' with vLLM"
                )
            raise TeacherInvalid(
                f"{self._server} begins its answer with {named(tokens[:3])}, and neither yes nor no is "
                f"among its {len(tokens)} likeliest tokens; {remedy}"
            )

    async def _ask_sample(self) -> ChatReply:
        """Ask about the grey image, and find the server's name of the length limit."""
        try:
            return await self._ask(self._sample, SAMPLE_QUESTION, first=True)
        except RequestRefused as refusal:
            raise TeacherInvalid(
                f"{self._server} refuses every request ({refusal}); {refused_remedy(refusal)}"
            ) from refusal

    async def _check_question(self, question: str) -> None:
        """Raise TeacherInvalid if the question is refused with an image that is known to be accepted."""
        try:
            await self._ask(self._sample, question)
        except RequestRefused as refusal:
            raise TeacherInvalid(
                f"{self._server} refuses the question '{printable(question, 100)}' ({refusal}); reword it"
            ) from refusal

    def _count(self, reply: ChatReply) -> None:
        self.usage.questions += 1
        self.usage.prompt_tokens += reply.prompt_tokens
        self.usage.cached_tokens += reply.cached_tokens


def require_listed(server: ChatClient, listed: Listed) -> None:
    """Raise TeacherInvalid for a server that returns no log-probabilities."""
    if not listed:
        raise TeacherInvalid(
            f"{server} returns no log-probabilities, and answers without them are of no use here; choose another model "
            "or server: vLLM's returns them for every model"
        )


def refused_remedy(refusal: RequestRefused) -> str:
    """Return what to do about a server that refuses the first request."""
    if "logprob" in str(refusal):
        return "set --top-logprobs to what it allows (often 5), or choose a model that returns log-probabilities"
    return "--request NAME=VALUE adds fields to requests or replaces them"


def read_answer(listed: Listed, config: TeacherConfig) -> tuple[float, float, bool]:
    """Return log-probabilities (nats) of yes and of no from the most likely tokens, and whether one is only a bound."""
    bound = unlisted_bound(listed)
    yes, no = matching(listed, config.yes_words), matching(listed, config.no_words)
    return bound if yes is None else yes, bound if no is None else no, yes is None or no is None


def unlisted_bound(listed: Listed) -> float:
    """Return the bound of an unlisted token's log-probability.

    It is no more likely than the last one listed, nor than all unlisted ones together.
    """
    logprobs = [logprob for _, logprob in listed]
    unlisted = max(1 - sum(map(math.exp, logprobs)), ROUNDING)
    return min(*logprobs, math.log(unlisted))


def listed_mass(listed: Listed, config: TeacherConfig) -> float:
    """Return the probability of yes and no together, of listed tokens only."""
    found = (matching(listed, words) for words in (config.yes_words, config.no_words))
    return sum(math.exp(logprob) for logprob in found if logprob is not None)


def matching(listed: Listed, words: Sequence[str], compared: Callable[[str], str] = str.casefold) -> float | None:
    """Return the log of the summed probabilities of all spellings of `words` (see `find_answer_tokens`); None if none
    is listed."""
    wanted = set(map(compared, words))
    found = [logprob for token, logprob in listed if compared(token.strip().lstrip(WORD_STARTS)) in wanted]
    return float(np.logaddexp.reduce(found)) if found else None
