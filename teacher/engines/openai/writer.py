"""Writer for a model on any server that supports JSON schemas in OpenAI's chat completions API."""

from __future__ import annotations

from teacher.engines.base import EngineUsage
from teacher.engines.config import ResolvedTeacher, TeacherInvalid
from teacher.engines.openai.client import ChatClient, RequestRefused, data_url, image_part, text_part
from teacher.engines.options import EngineOptions
from teacher.engines.writer import TEMPERATURE, WritingRequest, WrittenReply

WRITING_SECONDS = 600.0  # a page of text takes longer than one token


class OpenAIWriter:
    """Follows `Writer`.

    Raises TeacherInvalid for a server that cannot be used, and TeacherUnreachable from `write` if requests still fail
    after `options.max_retries` retries.
    """

    calls_at_once = 1
    slow_because: str | None = None

    def __init__(self, teacher: ResolvedTeacher, options: EngineOptions) -> None:
        self._server = ChatClient(teacher.config.model, options.model_copy(update={"timeout": WRITING_SECONDS}))
        self._takes_images = True  # until the server refuses them
        self.usage = EngineUsage()
        try:
            self._server.run(self._server.check_address())
        except BaseException:
            self.close()
            raise

    def write(self, request: WritingRequest) -> WrittenReply:
        return self._server.run(self._write(request))

    def close(self) -> None:
        self._server.close()

    async def _write(self, request: WritingRequest) -> WrittenReply:
        if not (request.images and self._takes_images):
            return await self._ask(request, with_images=False)
        try:
            return await self._ask(request, with_images=True)
        except TeacherInvalid as refusal:
            if not isinstance(refusal.__cause__, RequestRefused):
                raise
            # The model may take no images; any other problem fails again here.
            reply = await self._ask(request, with_images=False)
            self._takes_images = False
            return reply

    async def _ask(self, request: WritingRequest, *, with_images: bool) -> WrittenReply:
        images = [image_part(data_url(image)) for image in request.images] if with_images else []
        schema = {"name": "questions", "schema": dict(request.schema), "strict": True}
        try:
            reply = await self._server.complete_first(
                [*images, text_part(request.prompt)],
                request.length,
                temperature=TEMPERATURE,
                seed=request.seed,
                response_format={"type": "json_schema", "json_schema": schema},
            )
        except RequestRefused as refusal:
            raise TeacherInvalid(
                f"{self._server} refuses to write ({refusal}); try a lower --max-tokens; --request "
                "NAME=VALUE adds fields to requests or replaces them"
            ) from refusal
        self.usage.prompt_tokens += reply.prompt_tokens
        return WrittenReply(text=reply.choice.text, cut=reply.choice.finish_reason == "length", saw_images=with_images)
